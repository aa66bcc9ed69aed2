/* rehash.h - the job that brings a topic's stored events under its policy of deduplication */
#ifndef ENSIGND_REHASH_H
#define ENSIGND_REHASH_H
#include "jobs.h"

/* The topic is PENDING; when all is done it becomes READY. If it fails, it stays as it is until the server
   starts again. */
void rehash_start(service_t *s, topic_t *t);
#endif
