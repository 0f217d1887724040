/* Written by `python -m harness.rpc.generate` from harness/rpc. */
/* clang-format off */

#ifndef FAULT_RECORD_H
#define FAULT_RECORD_H

#include <stddef.h>
#include <stdint.h>

#define FAULT_RECORD_MAGIC 0x4352504Cu
#define FAULT_RECORD_NO_LAYER 0xFFFFFFFFu
#define FAULT_BASIC_FRAME 8u /* words */
#define FAULT_EXTENDED_FRAME 26u /* words */
#define FAULT_RECORD_STATUS 1u
#define FAULT_RECORD_SECURITY 2u
#define FAULT_RECORD_FLOAT 4u
#define FAULT_RECORD_FLUSHED 8u
#define FAULT_RECORD_FRAME 16u
#define FAULT_RECORD_STACK 32u
#define FAULT_RECORD_PARTIAL 64u

/* A crash. `magic` is written last, so that a record without it is not one. */
struct fault_record {
    uint32_t magic;
    uint32_t total;
    uint32_t crc32;
    uint32_t flags;
    uint8_t build_id[20];
    uint32_t layer;
    uint32_t exception;
    uint32_t exc_return;
    uint32_t msp;
    uint32_t psp;
    uint32_t control;
    uint32_t primask;
    uint32_t basepri;
    uint32_t faultmask;
    uint32_t msplim;
    uint32_t psplim;
    uint32_t r4_r11[8];
    uint32_t frame_address;
    uint32_t frame[26];
    uint32_t s16_s31[16];
    uint32_t cfsr;
    uint32_t hfsr;
    uint32_t mmfar;
    uint32_t bfar;
    uint32_t afsr;
    uint32_t shcsr;
    uint32_t sfsr;
    uint32_t sfar;
    uint32_t stack_address;
};
_Static_assert(offsetof(struct fault_record, magic) == 0, "fault_record.magic");
_Static_assert(offsetof(struct fault_record, total) == 4, "fault_record.total");
_Static_assert(offsetof(struct fault_record, crc32) == 8, "fault_record.crc32");
_Static_assert(offsetof(struct fault_record, flags) == 12, "fault_record.flags");
_Static_assert(offsetof(struct fault_record, build_id) == 16, "fault_record.build_id");
_Static_assert(offsetof(struct fault_record, layer) == 36, "fault_record.layer");
_Static_assert(offsetof(struct fault_record, exception) == 40, "fault_record.exception");
_Static_assert(offsetof(struct fault_record, exc_return) == 44, "fault_record.exc_return");
_Static_assert(offsetof(struct fault_record, msp) == 48, "fault_record.msp");
_Static_assert(offsetof(struct fault_record, psp) == 52, "fault_record.psp");
_Static_assert(offsetof(struct fault_record, control) == 56, "fault_record.control");
_Static_assert(offsetof(struct fault_record, primask) == 60, "fault_record.primask");
_Static_assert(offsetof(struct fault_record, basepri) == 64, "fault_record.basepri");
_Static_assert(offsetof(struct fault_record, faultmask) == 68, "fault_record.faultmask");
_Static_assert(offsetof(struct fault_record, msplim) == 72, "fault_record.msplim");
_Static_assert(offsetof(struct fault_record, psplim) == 76, "fault_record.psplim");
_Static_assert(offsetof(struct fault_record, r4_r11) == 80, "fault_record.r4_r11");
_Static_assert(offsetof(struct fault_record, frame_address) == 112, "fault_record.frame_address");
_Static_assert(offsetof(struct fault_record, frame) == 116, "fault_record.frame");
_Static_assert(offsetof(struct fault_record, s16_s31) == 220, "fault_record.s16_s31");
_Static_assert(offsetof(struct fault_record, cfsr) == 284, "fault_record.cfsr");
_Static_assert(offsetof(struct fault_record, hfsr) == 288, "fault_record.hfsr");
_Static_assert(offsetof(struct fault_record, mmfar) == 292, "fault_record.mmfar");
_Static_assert(offsetof(struct fault_record, bfar) == 296, "fault_record.bfar");
_Static_assert(offsetof(struct fault_record, afsr) == 300, "fault_record.afsr");
_Static_assert(offsetof(struct fault_record, shcsr) == 304, "fault_record.shcsr");
_Static_assert(offsetof(struct fault_record, sfsr) == 308, "fault_record.sfsr");
_Static_assert(offsetof(struct fault_record, sfar) == 312, "fault_record.sfar");
_Static_assert(offsetof(struct fault_record, stack_address) == 316, "fault_record.stack_address");
_Static_assert(sizeof(struct fault_record) == 320, "fault_record");

#endif
