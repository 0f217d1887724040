/*
 * bool platform_copy(void *to, const void *from, uint32_t bytes): when an access faults, the fault path continues at
 * fault_probe_failed instead of recording a crash. Uses r0-r3 only, so there is nothing to undo.
 */
    .syntax unified
    .thumb
    .section .text.platform_copy, "ax", %progbits
    .global platform_copy, fault_probe_start, fault_probe_end, fault_probe_failed
    .thumb_func
    .type platform_copy, %function
platform_copy:
    mov r3, r0
    orrs r3, r1
    orrs r3, r2
    lsls r3, r3, #30
    beq .Lwords
    b .Lbytes
fault_probe_start:
.Lbyte:
    ldrb r3, [r1]
    strb r3, [r0]
    adds r0, #1
    adds r1, #1
.Lbytes:
    subs r2, #1
    bhs .Lbyte
    b .Ldone
.Lword:
    ldr r3, [r1]
    str r3, [r0]
    adds r0, #4
    adds r1, #4
.Lwords:
    subs r2, #4
    bhs .Lword
.Ldone:
    /* A buffered write that fails must do so here. */
    dsb
fault_probe_end:
    movs r0, #1
    bx lr
fault_probe_failed:
    movs r0, #0
    bx lr
    .size platform_copy, . - platform_copy
