"""The sentences that fault handlers print for a bit of CFSR: Zephyr, CmBacktrace in English, in Chinese."""

from __future__ import annotations

CAUSES = {
    0: (
        "  Instruction Access Violation",
        "Memory management fault is caused by instruction access violation",
        "发生存储器管理错误，原因：企图从不允许访问的区域取指令",
    ),
    1: (
        "  Data Access Violation",
        "Memory management fault is caused by data access violation",
        "发生存储器管理错误，原因：企图从不允许访问的区域读、写数据",
    ),
    8: (
        "  Instruction bus error",
        "Bus fault is caused by instruction access violation",
        "发生总线错误，原因：指令总线错误",
    ),
    9: (
        "  Precise data bus error",
        "Bus fault is caused by precise data access violation",
        "发生总线错误，原因：精确的数据总线错误",
    ),
    10: (
        "  Imprecise data bus error",
        "Bus fault is caused by imprecise data access violation",
        "发生总线错误，原因：不精确的数据总线错误",
    ),
    16: (
        "  Attempt to execute undefined instruction",
        "Usage fault is caused by attempts to execute an undefined instruction",
        "发生用法错误，原因：企图执行未定义指令",
    ),
    17: (
        "  Illegal use of the EPSR",
        "Usage fault is caused by attempts to switch to an invalid state (e.g., ARM)",
        "发生用法错误，原因：试图切换到 ARM 状态",
    ),
    18: (
        "  Illegal load of EXC_RETURN into PC",
        "Usage fault is caused by attempts to do an exception with a bad value in the EXC_RETURN number",
        "发生用法错误，原因：无效的异常返回码",
    ),
    19: (
        "  No coprocessor instructions",
        "Usage fault is caused by attempts to execute a coprocessor instruction",
        "发生用法错误，原因：企图执行协处理器指令",
    ),
    20: (
        "  Stack overflow (context area not valid)",
        "Usage fault is caused by indicates that a stack overflow (hardware check) has taken place",
        "发生用法错误，原因：硬件检测到栈溢出",
    ),
    24: (
        "  Unaligned memory access",
        "Usage fault is caused by indicates that an unaligned access fault has taken place",
        "发生用法错误，原因：企图执行非对齐访问",
    ),
    25: (
        "  Division by zero",
        "Usage fault is caused by Indicates a divide by zero has taken place (can be set only if DIV_0_TRP is set)",
        "发生用法错误，原因：企图执行除 0 操作",
    ),
    4: (
        "  Stacking error (context area might be not valid)",
        "Memory management fault is caused by stacking error",
        "发生存储器管理错误，原因：入栈时企图访问不被允许的区域",
    ),
    12: ("  Stacking error", "Bus fault is caused by stacking error", "发生总线错误，原因：入栈时发生错误"),
}
