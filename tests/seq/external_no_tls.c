/* external.c in a build without mbedTLS */
#define ENSIGN_NO_TLS
#include "external.c"
