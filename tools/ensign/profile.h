/* profile.h - options of a connection from a file of profiles, for --profile
 *
 * The file is ensign/profiles in the place that XDG has for configuration: $XDG_CONFIG_HOME, else ~/.config.
 *
 *     # a comment
 *     [staging]
 *     endpoint = staging.example:443
 *     credentials = staging.json
 *
 * A comment stands on a line of its own. Another line is an option of the connection without its dashes; one
 * that takes no value is true or false here. A path is relative to the folder of the file, or begins with ~/
 * for the home folder.
 *
 * To name a profile is an option: its lines come behind the other options, and before the environment. All
 * lines about the API key are one thing in this, and so are the certificate and its key: where an option
 * gives a part of it, no line about it counts. A profile that holds a secret is refused where others can read
 * the file. No secret is printed. */
#ifndef ENSIGN_CLI_PROFILE_H
#define ENSIGN_CLI_PROFILE_H
#include "options.h"

/* Adds what profile o->profile says to the options. An exit status; what is wrong is said. */
int profile_read(options_t *o);
#endif
