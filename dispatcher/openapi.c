#include "dispatcher/about.h"

/* The assembler puts the file in; CMake says where it is (BF_OPENAPI). */
__asm__(".pushsection .rodata\n"
        "bf_openapi_begin:\n"
        ".incbin \"" BF_OPENAPI "\"\n"
        "bf_openapi_end:\n"
        ".popsection\n");

extern const char bf_openapi_begin[], bf_openapi_end[];

struct bf_slice bf_openapi(void)
{
    return (struct bf_slice){bf_openapi_begin,
                             (size_t)(bf_openapi_end - bf_openapi_begin)};
}
