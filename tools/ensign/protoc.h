/* protoc.h - the types of .proto files: by the compiler of Protocol Buffers, which is a program of its own */
#ifndef ENSIGN_CLI_PROTOC_H
#define ENSIGN_CLI_PROTOC_H
#include "options.h"

/* An encoded FileDescriptorSet of these files and of all that they import; paths are the folders of imports,
 * none of them: the folder of each file. False: said. *set is the caller's to free. */
bool protoc_run(const list_t *files, const list_t *paths, uint8_t **set, size_t *len);
#endif
