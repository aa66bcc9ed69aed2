/* otlp_export.c - send a log record and a span to an OpenTelemetry collector
 * Shows   two typed calls at once; messages in messages; strings that nothing copies; gzip, with ENSIGN_GZIP
 * Run     build/examples/otlp_export shop "basket is empty"     (ENSIGN_ENDPOINT=localhost:4317)
 *         Messages: examples/otlp/, made as tools/docs/typed-calls.md tells
 * Prints  nothing; exit 0 when the collector has taken both
 * Next    openssl.c */
#define ENSIGN_IMPLEMENTATION
#include "../ensign.h"
#include "otlp/logs_service.ensign.h"
#include "otlp/trace_service.ensign.h"
#include <stdio.h>
#include <string.h>
#include <time.h>

/* nanopb's names begin with the whole package. */
#define OTLP(name)   opentelemetry_proto_##name
#define LOGS(name)   OTLP(collector_logs_v1_##name)
#define TRACES(name) OTLP(collector_trace_v1_##name)

static uint8_t trace_id[16], span_id[8];

static int fail(const char *what, const char *why)
{
    fprintf(stderr, "otlp_export: %s: %s\n", what, why);
    return 1;
}

static uint64_t now_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_REALTIME, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static bool draw_ids(void)
{
    FILE *f = fopen("/dev/urandom", "rb");
    bool drawn = f && fread(trace_id, 16, 1, f) == 1 && fread(span_id, 8, 1, f) == 1;

    if (f) fclose(f);
    return drawn;
}

static OTLP(common_v1_KeyValue) pair(const char *key, const char *value)
{
    OTLP(common_v1_KeyValue) kv = OTLP(common_v1_KeyValue_init_zero);

    kv.key = (char *)key; /* nanopb's pointers lack const; it does not write what it encodes */
    kv.has_value = true;
    kv.value.which_value = OTLP(common_v1_AnyValue_string_value_tag);
    kv.value.value.string_value = (char *)value;
    return kv;
}

/* Says who sends, in both messages. */
static OTLP(resource_v1_Resource) resource_of(const char *service)
{
    OTLP(resource_v1_Resource) r = OTLP(resource_v1_Resource_init_zero);

    r.attributes_count = 1;
    r.attributes[0] = pair("service.name", service);
    return r;
}

static ensign_call_t export_log(ensign_t *c, const char *service, const char *text,
                                const ensign_call_desc_t *options)
{
    LOGS(ExportLogsServiceRequest) m = LOGS(ExportLogsServiceRequest_init_zero);
    OTLP(logs_v1_ResourceLogs) *of = &m.resource_logs[0];
    OTLP(logs_v1_LogRecord) *log = &of->scope_logs[0].log_records[0];

    m.resource_logs_count = of->scope_logs_count = of->scope_logs[0].log_records_count = 1;
    of->has_resource = true;
    of->resource = resource_of(service);
    log->time_unix_nano = now_ns();
    log->severity_number = OTLP(logs_v1_SeverityNumber_SEVERITY_NUMBER_INFO);
    log->has_body = true;
    log->body = pair("", text).value;
    log->trace_id.size = sizeof trace_id;
    memcpy(log->trace_id.bytes, trace_id, sizeof trace_id);
    log->span_id.size = sizeof span_id;
    memcpy(log->span_id.bytes, span_id, sizeof span_id);
    return LOGS(LogsService_Export_open)(c, &m, options);
}

static ensign_call_t export_span(ensign_t *c, const char *service, uint64_t start,
                                 const ensign_call_desc_t *options)
{
    TRACES(ExportTraceServiceRequest) m = TRACES(ExportTraceServiceRequest_init_zero);
    OTLP(trace_v1_ResourceSpans) *of = &m.resource_spans[0];
    OTLP(trace_v1_Span) *span = &of->scope_spans[0].spans[0];

    m.resource_spans_count = of->scope_spans_count = of->scope_spans[0].spans_count = 1;
    of->has_resource = true;
    of->resource = resource_of(service);
    span->trace_id.size = sizeof trace_id;
    memcpy(span->trace_id.bytes, trace_id, sizeof trace_id);
    span->span_id.size = sizeof span_id;
    memcpy(span->span_id.bytes, span_id, sizeof span_id);
    span->name = (char *)"otlp_export";
    span->kind = OTLP(trace_v1_Span_SpanKind_SPAN_KIND_CLIENT);
    span->start_time_unix_nano = start;
    span->end_time_unix_nano = now_ns();
    span->attributes_count = 1;
    span->attributes[0] = pair("example", "ensign.h");
    return TRACES(TraceService_Export_open)(c, &m, options);
}

/* A collector can take a part, and say so. */
static int finish_log(ensign_t *c, ensign_call_t call)
{
    LOGS(ExportLogsServiceResponse) m = LOGS(ExportLogsServiceResponse_init_zero);
    const ensign_notice_t *n;

    if (ensign_await(c, call.id, -1, &n) != ENSIGN_OK) return fail("log", ensign_error(c)->text);
    if (LOGS(LogsService_Export_read)(c, n, &m) != ENSIGN_OK) return fail("log", ensign_error(c)->text);
    if (m.partial_success.rejected_log_records > 0) return fail("log", m.partial_success.error_message);
    return 0;
}

static int finish_span(ensign_t *c, ensign_call_t call)
{
    TRACES(ExportTraceServiceResponse) m = TRACES(ExportTraceServiceResponse_init_zero);
    const ensign_notice_t *n;

    if (ensign_await(c, call.id, -1, &n) != ENSIGN_OK) return fail("span", ensign_error(c)->text);
    if (TRACES(TraceService_Export_read)(c, n, &m) != ENSIGN_OK) return fail("span", ensign_error(c)->text);
    if (m.partial_success.rejected_spans > 0) return fail("span", m.partial_success.error_message);
    return 0;
}

int main(int argc, char **argv)
{
    const uint64_t start = now_ns();
    ensign_call_desc_t options = { 0 };
    ensign_desc_t desc = { 0 };
    ensign_call_t log, span;
    ensign_error_t why;
    ensign_t *c;
    int failed;

    if (argc != 3) return fprintf(stderr, "usage: otlp_export SERVICE TEXT\n"), 2;
    if (!draw_ids()) return fail("ids", "/dev/urandom cannot be read");
    if (ensign_desc_env(&desc, &why) != ENSIGN_OK) return fail("environment", why.text);
    if (ensign_create(&desc, &c, &why) != ENSIGN_OK) return fail("create", why.text);
    options.deadline_ms = 10000;
    options.wait_for_ready = true;
    options.no_token = true;
#ifdef ENSIGN_GZIP
    options.compress = true;
#endif
    log = export_log(c, argv[1], argv[2], &options);
    span = export_span(c, argv[1], start, &options);
    failed = finish_log(c, log);
    failed |= finish_span(c, span);
    ensign_destroy(c);
    return failed;
}
