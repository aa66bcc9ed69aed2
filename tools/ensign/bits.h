/* bits.h - the bit of each command, for the two tables */
#ifndef ENSIGN_CLI_BITS_H
#define ENSIGN_CLI_BITS_H

enum {
    C_PUBLISH = 1 << 0, C_SUBSCRIBE = 1 << 1, C_QUERY = 1 << 2, C_LS = 1 << 3, C_SHOW = 1 << 4,
    C_CREATE = 1 << 5, C_EXISTS = 1 << 6, C_ARCHIVE = 1 << 7, C_RM = 1 << 8, C_POLICY = 1 << 9,
    C_INFO = 1 << 10, C_STATUS = 1 << 11, C_HEALTH = 1 << 12, C_CALL = 1 << 13, C_BENCH = 1 << 14,
    C_HELP = 1 << 15, C_GROUPS_LS = 1 << 16, C_GROUPS_SHOW = 1 << 17, C_GROUPS_RM = 1 << 18,
    C_GROUPS_RESET = 1 << 19,
    C_TOPICS = C_LS | C_SHOW | C_CREATE | C_EXISTS | C_ARCHIVE | C_RM | C_POLICY,
    C_GROUPS = C_GROUPS_LS | C_GROUPS_SHOW | C_GROUPS_RM | C_GROUPS_RESET,
    C_EVENTS = C_SUBSCRIBE | C_QUERY,
    C_ONLINE = C_PUBLISH | C_EVENTS | C_TOPICS | C_GROUPS | C_INFO | C_STATUS | C_HEALTH | C_CALL | C_BENCH,
    C_ALL = C_ONLINE | C_HELP
};
#define ANY 0xFFFFFFFFu         /* as many arguments as are given */
#endif
