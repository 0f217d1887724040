#ifndef CRC32_H
#define CRC32_H

#include <stdint.h>

/* zlib's CRC-32 of `bytes` bytes at `data`, continuing `crc`; the first piece continues 0. */
uint32_t crc32(uint32_t crc, const void *data, uint32_t bytes);

#endif
