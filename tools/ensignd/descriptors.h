/* descriptors.h - the schema of ensignd's services, as protoc describes it: for reflection.c alone
 *
 * tools/gen writes descriptors.c. A file's imports are among these files, and stand before it. Which are the
 * imports, its own bytes tell. */
#ifndef ENSIGND_DESCRIPTORS_H
#define ENSIGND_DESCRIPTORS_H
#include <stddef.h>
#include <stdint.h>

typedef struct described_file_t {
    const char    *name;                /* as others import it */
    const uint8_t *bytes;               /* a google.protobuf.FileDescriptorProto */
    size_t         len;
} described_file_t;

typedef enum { SYMBOL_SERVICE, SYMBOL_MESSAGE, SYMBOL_OTHER } symbol_kind_t;

typedef struct described_symbol_t {
    const char   *name;                 /* in full, without a dot in front */
    symbol_kind_t kind;
    unsigned      file;                 /* its place in described_files */
} described_symbol_t;

extern const described_file_t described_files[];
extern const size_t described_file_count;
extern const described_symbol_t described_symbols[];    /* in the order of strcmp */
extern const size_t described_symbol_count;
#endif
