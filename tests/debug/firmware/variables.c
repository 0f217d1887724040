/* Variables of every kind that C has, in registers, on the stack, folded to constants, and taken apart. The tests stop at
 * `stop` and ask what the callers' variables are. */
#include <stdbool.h>
#include <stdint.h>

#define FUNCTION __attribute__((noipa))
#define INLINED static inline __attribute__((always_inline))

enum colour { RED, GREEN = 5, BLUE = -2 };
enum { FIRST_FLAG = 1, SECOND_FLAG = 2 };
typedef struct {
    int8_t small;
    uint16_t middle;
    int32_t large;
} sizes;
struct bits {
    unsigned low : 3;
    int negative : 5;
    unsigned high : 20;
    bool flag : 1;
};
union either {
    uint32_t word;
    uint8_t bytes[4];
};
struct nested {
    sizes inner[2];
    const char *name;
    struct nested *next;
};

volatile int32_t sink;
volatile uint32_t zero;

FUNCTION void stop(void)
{
    sink++;
}

FUNCTION int32_t integers(int8_t a, uint8_t b, int16_t c, uint16_t d, int32_t e, uint32_t f, int64_t g, uint64_t h)
{
    bool yes = zero == 0, no = !yes;
    char letter = (char)('a' + zero), odd = (char)(0xE0u + zero);
    int64_t wide = g * 3 - (int64_t)zero;
    stop();
    sink += (int32_t)(yes + no + letter + odd + wide);
    stop();
    return a + b + c + d + e + (int32_t)f + (int32_t)h;
}

FUNCTION float floats(float a, double b)
{
    float third = a / 3.0f;
    double product = b * (double)a;
    stop();
    return third + (float)product;
}

FUNCTION int32_t records(sizes by_value, const struct nested *list, enum colour colour)
{
    struct bits bits = {5, -9, 0xABCDE, true};
    union either either = {0x11223344u + zero};
    sizes copy = by_value;
    enum colour other = zero ? RED : BLUE;
    copy.large += (int32_t)zero;
    stop();
    *(volatile uint32_t *)&bits = 0x0FFFFFFFu; /* keeps it in memory */
    sink += (int32_t)either.word + copy.large + other;
    stop();
    return copy.large + list->inner[1].middle + (int32_t)colour + (int32_t)bits.high;
}

INLINED int32_t folded(int32_t x, int32_t y)
{
    const int32_t product = x * y;
    stop();
    return product + (int32_t)zero;
}

INLINED int32_t outer_inlined(int32_t depth)
{
    int32_t before = depth + 1;
    int32_t found = folded(6, 7) + folded(depth, before);
    stop();
    return found;
}

FUNCTION int32_t blocks(const int16_t *values, int32_t count)
{
    static int32_t calls = 3;
    int16_t table[3][2] = {{1, -2}, {3, 4}, {(int16_t)zero, 6}};
    int32_t sum = 0;
    for (int32_t i = 0; i < count; i++) {
        const int32_t count = values[i] * 2; /* hides the parameter */
        sum += count;
        if (i == 2) {
            int32_t late = sum + i;
            stop();
            sum += late;
        }
    }
    calls++;
    for (volatile int32_t k = 0; k < 1; k++) {
        stop();
    }
    return sum + outer_inlined(sum) + table[zero][1];
}

FUNCTION int32_t entry(int32_t a, int32_t b)
{
    int32_t sum = a + b; /* after this nobody needs a and b */
    sink = sum;
    stop();
    return sum;
}

FUNCTION uint32_t functions(int32_t (*function)(int32_t, int32_t), const char *text, const int8_t *bytes, void *nothing)
{
    char buffer[12] = "short\n\x01";
    uint32_t seen = (uint32_t)function(20 + (int32_t)zero, 22);
    stop();
    return seen + (uint32_t)buffer[zero] + (uint32_t)text[zero] + (uint32_t)bytes[zero] + (nothing != 0);
}

int main(void)
{
    static const int16_t values[] = {3, -4, 5, 6};
    static struct nested last = {{{1, 2, 3}, {4, 5, 6}}, "last", 0};
    struct nested first = {{{-1, 65535, -3}, {7, 8, 9}}, "first \"one\"", &last};
    sink = integers(-5, 250, -300, 60000, -70000, 4000000000u, -5000000000, 18000000000000000000u);
    sink += (int32_t)floats(1.5f, -2.25);
    sink += records(first.inner[0], &first, GREEN);
    sink += blocks(values, 4);
    sink += (int32_t)functions(entry, "a text that is longer than what fits into the space that there is for it", (const int8_t *)values, 0);
    stop();
    for (;;) {
    }
}

__attribute__((section(".stacks"), aligned(8))) uint32_t main_stack[256];
extern uint32_t data_load, data_start, data_end, bss_start, bss_end;

void Reset_Handler(void)
{
    for (uint32_t *to = &data_start, *from = &data_load; to < &data_end;) {
        *to++ = *from++;
    }
    for (uint32_t *to = &bss_start; to < &bss_end;) {
        *to++ = 0;
    }
#if CORE_HAS_FPU
    *(volatile uint32_t *)0xE000ED88u |= 0xF00000u;
    __asm__ volatile("dsb\nisb");
#endif
    main();
}

__attribute__((section(".vectors"), used)) static void (*const vectors[2])(void) = {
    (void (*)(void))(main_stack + 256),
    Reset_Handler,
};
