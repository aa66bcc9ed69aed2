/* messages.h - the service's messages: the pb section of ensign.h, private to each file that includes this
   one */
#ifndef ENSIGND_MESSAGES_H
#define ENSIGND_MESSAGES_H
#include "util.h"

/* Only the codec of it is called here. */
#if defined(__GNUC__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-function"
#endif
#define ENSIGN_STATIC
#define ENSIGN_NO_SOCKETS
#define ENSIGN_IMPLEMENTATION
#include "../../ensign.h"
#if defined(__GNUC__)
#pragma GCC diagnostic pop
#endif
#include <string.h>
#endif
