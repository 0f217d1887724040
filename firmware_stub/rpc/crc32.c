#include "crc32.h"

/* CRC of each value of four bits, polynomial 0xEDB88320: half as fast as the table of 256 and 960 bytes smaller. */
static const uint32_t table[16] = {
    0x00000000u, 0x1DB71064u, 0x3B6E20C8u, 0x26D930ACu, 0x76DC4190u, 0x6B6B51F4u, 0x4DB26158u, 0x5005713Cu,
    0xEDB88320u, 0xF00F9344u, 0xD6D6A3E8u, 0xCB61B38Cu, 0x9B64C2B0u, 0x86D3D2D4u, 0xA00AE278u, 0xBDBDF21Cu,
};

uint32_t crc32(uint32_t crc, const void *data, uint32_t bytes)
{
    const uint8_t *byte = data;
    crc = ~crc;
    for (uint32_t i = 0; i < bytes; i++) {
        crc ^= byte[i];
        crc = table[crc & 15u] ^ (crc >> 4);
        crc = table[crc & 15u] ^ (crc >> 4);
    }
    return ~crc;
}
