/* service.c - ensign status, info, health: how the server is, and what it counts */
#include "session.h"
#include <string.h>

static const char *service_state(int state)
{
    static const char *const names[] = {
        "unknown", "healthy", "unhealthy", "danger", "offline", "maintenance"
    };
    return state >= 0 && (size_t)state < COUNT_OF(names) ? names[state] : "unknown";
}

static void print_status(const options_t *o, const ensign_notice_status_t *a)
{
    char uptime[NUMBER_TEXT];

    if (o->json) {
        json_object(NULL);
        json_text("state", service_state(a->state));
        json_slice("version", a->version);
        json_number("uptime_seconds", (double)a->uptime_ms / 1000);
        json_close();
        return;
    }
    out_format("state    %s%s%s\n", out_color(a->state == ENSIGN_SERVICE_HEALTHY ? "32" : "31"),
               service_state(a->state), out_color("0"));
    out_text("version  ");
    out_safe(a->version, false);
    out_format("\nuptime   %s\n", text_duration((double)a->uptime_ms / 1000, uptime));
}

int run_status(const options_t *o)
{
    session_t s;
    const ensign_notice_t *n;

    if (session_open(&s, o, false)) {
        n = session_answer(&s, ensign_status(s.c, NULL).id, NULL);
        if (n) {
            print_status(o, &n->as.status);
            if (n->as.status.state != ENSIGN_SERVICE_HEALTHY) session_fail(&s, EXIT_FAILED);
        }
    }
    return session_end(&s);
}
