/* System control registers (Armv7-M manual B3.2, Armv8-M manual D1.2). Armv6-M has AIRCR and the MPU's type only. */
#ifndef SCB_H
#define SCB_H

#include "register.h"

#define SCB_VTOR  REGISTER(0xE000ED08u)
#define SCB_AIRCR REGISTER(0xE000ED0Cu)
#define SCB_CCR   REGISTER(0xE000ED14u)
#define SCB_SHCSR REGISTER(0xE000ED24u)
#define SCB_CFSR  REGISTER(0xE000ED28u)
#define SCB_HFSR  REGISTER(0xE000ED2Cu)
#define SCB_MMFAR REGISTER(0xE000ED34u)
#define SCB_BFAR  REGISTER(0xE000ED38u)
#define SCB_AFSR  REGISTER(0xE000ED3Cu)
#define SCB_CPACR REGISTER(0xE000ED88u)
#define SCB_SFSR  REGISTER(0xE000EDE4u)
#define SCB_SFAR  REGISTER(0xE000EDE8u)

#define AIRCR_KEY         (0x05FAu << 16)
#define AIRCR_SYSRESETREQ (1u << 2)

#define CCR_NONBASETHRDENA (1u << 0)
#define CCR_DIV_0_TRP      (1u << 4)
#define CCR_STKALIGN       (1u << 9)

#define SHCSR_MEMFAULTENA    (1u << 16)
#define SHCSR_BUSFAULTENA    (1u << 17)
#define SHCSR_USGFAULTENA    (1u << 18)
#define SHCSR_SECUREFAULTENA (1u << 19)

#define CPACR_FPU (0xFu << 20) /* CP10 and CP11: full access; also switches MVE on */

#define FPU_FPCCR    REGISTER(0xE000EF34u)
#define FPU_FPCAR    REGISTER(0xE000EF38u)
#define FPCCR_LSPACT (1u << 0)

#define MPU_TYPE REGISTER(0xE000ED90u)
#define MPU_CTRL REGISTER(0xE000ED94u)
#define MPU_RNR  REGISTER(0xE000ED98u)
#define MPU_RBAR REGISTER(0xE000ED9Cu)

#define MPU_TYPE_REGIONS(type) (((type) >> 8) & 0xFFu)
#define MPU_CTRL_ENABLE        (1u << 0)
#define MPU_CTRL_PRIVDEFENA    (1u << 2) /* what no region covers is as without MPU */

#define DWT_CTRL           REGISTER(0xE0001000u)
#define DWT_CYCCNT         REGISTER(0xE0001004u)
#define DWT_LAR            REGISTER(0xE0001FB0u)
#define DWT_CTRL_CYCCNTENA (1u << 0)
#define DWT_LAR_KEY        0xC5ACCE55u
#define DCB_DEMCR          REGISTER(0xE000EDFCu)
#define DEMCR_TRCENA       (1u << 24)

#endif
