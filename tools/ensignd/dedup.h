/* dedup.h - which stored events say the same, and what is kept of the later ones
 *
 * Pure: EventWrappers as the store has them go in and come out. A hash only names candidates, since what it
 * is made of stands without lengths: dedup_same decides. */
#ifndef ENSIGND_DEDUP_H
#define ENSIGND_DEDUP_H
#include "ids.h"

typedef enum {
    DEDUP_NONE = 1, DEDUP_STRICT = 2, DEDUP_DATAGRAM = 3, DEDUP_KEY_GROUPED = 4, DEDUP_UNIQUE_KEY = 5,
    DEDUP_UNIQUE_FIELD = 6              /* not to be run: nobody has said what it means */
} dedup_strategy_t;

typedef struct dedup_policy_t {         /* normalised: keys sorted, each once */
    dedup_strategy_t strategy;
    bool     latest;                    /* the last copy is the original, not the first */
    bool     overwrite;
    ensign_slice_t *keys;               /* of the metadata */
    size_t   key_count;
    buf_t    held;                      /* what `keys` point into */
} dedup_policy_t;

/* Of a Topic as replies have it. */
bool dedup_policy_read(ensign_slice_t topic, dedup_policy_t *out);
void dedup_policy_free(dedup_policy_t *p);

/* False: there is no event to hash. */
bool dedup_hash(const dedup_policy_t *p, ensign_slice_t wrapper, name_hash_t *out);
bool dedup_same(const dedup_policy_t *p, ensign_slice_t a, ensign_slice_t b);
/* `all` of what the policy looks at, each part with its length, so equal ones are dedup_same; and the data.
   False: there is no event. */
typedef struct dedup_digest_t { uint8_t all[32], data[32]; } dedup_digest_t;
bool dedup_digest(const dedup_policy_t *p, ensign_slice_t wrapper, dedup_digest_t *out);
/* False: it is no duplicate of another event. */
bool dedup_original(ensign_slice_t wrapper, rlid_t *original);
/* These append to `out`; false, and nothing appended: it cannot be read. */
bool dedup_shrink(const dedup_policy_t *p, ensign_slice_t wrapper, ensign_slice_t original,
                  const rlid_t *original_id, buf_t *out);
bool dedup_unmark(ensign_slice_t wrapper, buf_t *out);  /* no duplicate any more */
/* A wrapper whose event has these data and all else of the one in `wrapper`: what dedup_shrink needs of an
   original. */
bool dedup_outline(ensign_slice_t wrapper, ensign_slice_t data, buf_t *out);
bool dedup_needs_outline(const dedup_policy_t *p);      /* false: it shrinks a duplicate to nothing */
bool dedup_data(ensign_slice_t wrapper, ensign_slice_t *data);
#endif
