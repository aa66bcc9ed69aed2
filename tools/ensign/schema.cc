// schema.cc - see schema.h
#include "schema.h"
extern "C" {
#include "../common/utf8.h"
}
#include <google/protobuf/any.pb.h>
#include <google/protobuf/descriptor.h>
#include <google/protobuf/descriptor.pb.h>
#include <google/protobuf/stubs/common.h>
#include <google/protobuf/stubs/logging.h>
#include <google/protobuf/unknown_field_set.h>
#include <google/protobuf/util/json_util.h>
#include <google/protobuf/util/type_resolver_util.h>
#include <google/protobuf/wrappers.pb.h>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <exception>
#include <map>
#include <memory>
#include <new>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace pb = google::protobuf;
using std::string;

namespace {

const size_t FILES_MAX = 10000;             // of one server; more is no honest answer
const size_t FILE_BYTES_MAX = 16u << 20;    // of all files of a server, encoded; they take far more in memory
const size_t TEMPLATE_MAX = 1u << 20;       // bytes: types can nest so that the whole would have no end
const int    NEST_MAX = 100;                // as deep as libprotobuf reads messages
const char   URL[] = "type.googleapis.com/";

// libprotobuf writes on standard error by itself: what matters comes back as an error, too.
void keep_silent(pb::LogLevel, const char *, int, const string &) {}

string text_of(ensign_slice_t s)
{
    return s.len > 0 ? string(reinterpret_cast<const char *>(s.ptr), s.len) : string();
}

ensign_slice_t slice_of(const string &s)
{
    ensign_slice_t out = { reinterpret_cast<const uint8_t *>(s.data()), s.size() };
    return out;
}

// What is no UTF-8 becomes U+FFFD.
void make_utf8(string *text)
{
    string out;
    uint32_t c;

    if (utf8_valid(slice_of(*text))) return;
    for (size_t at = 0, n; at < text->size(); at += n > 0 ? n : 1) {
        ensign_slice_t rest = { reinterpret_cast<const uint8_t *>(text->data()) + at, text->size() - at };
        n = utf8_char(rest, &c);
        out += n > 0 ? text->substr(at, n) : "\xEF\xBF\xBD";
    }
    text->swap(out);
}

string type_of_url(const string &url)
{
    return url.substr(url.rfind('/') + 1); // npos + 1 is 0: all of it
}

const pb::FileDescriptor *own_file(const string &name) // one that libprotobuf brings along
{
    if (name.compare(0, 16, "google/protobuf/") != 0) return nullptr;
    return pb::DescriptorPool::generated_pool()->FindFileByName(name);
}

// Where this name is found: what was linked goes before the types that libprotobuf brings along.
const pb::DescriptorPool &pool_with(const pb::DescriptorPool &linked, const string &name)
{
    const pb::DescriptorPool *brought = pb::DescriptorPool::generated_pool();

    if (linked.FindFileContainingSymbol(name)) return linked;
    const pb::FileDescriptor *file = brought->FindFileContainingSymbol(name);
    return file && own_file(file->name()) == file ? *brought : linked;
}

// The types that JSON has a form of its own for. libprotobuf trusts them to be what they are called.
bool is_special(const string &name)
{
    static const char *const names[] = {
        "Any", "Duration", "FieldMask", "ListValue", "Struct", "Timestamp", "Value", "BoolValue",
        "BytesValue", "DoubleValue", "FloatValue", "Int32Value", "Int64Value", "StringValue", "UInt32Value",
        "UInt64Value",
    };

    if (name.compare(0, 16, "google.protobuf.") != 0) return false;
    for (const char *n : names)
        if (name.compare(16, string::npos, n) == 0) return true;
    return false;
}

class Errors : public pb::DescriptorPool::ErrorCollector {
public:
    string first;

    void AddError(const string &file, const string &element, const pb::Message *, ErrorLocation,
                  const string &message) override
    {
        if (first.empty()) first = file + ": " + element + ": " + message;
    }
};

// ---- types that need nobody to tell them: those of google/protobuf/ that JSON has forms for, and of
// google.rpc the status and the usual details, which libprotobuf does not bring along

struct row_t { const char *message, *fields; };

// Fields are numbered from 1 on. Of each: its name, a colon, its type; * is repeated.
const row_t rpc_rows[] = {
    { "Status", "code:int32 message:string details:*.google.protobuf.Any" },
    { "ErrorInfo", "reason:string domain:string metadata:map" },
    { "RetryInfo", "retry_delay:.google.protobuf.Duration" },
    { "DebugInfo", "stack_entries:*string detail:string" },
    { "QuotaViolation", "subject:string description:string api_service:string quota_metric:string "
                        "quota_id:string quota_dimensions:map quota_value:int64 future_quota_value:int64" },
    { "QuotaFailure", "violations:*.google.rpc.QuotaViolation" },
    { "PreconditionViolation", "type:string subject:string description:string" },
    { "PreconditionFailure", "violations:*.google.rpc.PreconditionViolation" },
    { "LocalizedMessage", "locale:string message:string" },
    { "FieldViolation", "field:string description:string reason:string "
                        "localized_message:.google.rpc.LocalizedMessage" },
    { "BadRequest", "field_violations:*.google.rpc.FieldViolation" },
    { "RequestInfo", "request_id:string serving_data:string" },
    { "ResourceInfo", "resource_type:string resource_name:string owner:string description:string" },
    { "Link", "description:string url:string" },
    { "Help", "links:*.google.rpc.Link" },
};

void rpc_map(pb::DescriptorProto *m, pb::FieldDescriptorProto *f)
{
    pb::DescriptorProto *entry = m->add_nested_type();
    string name; // as protoc makes it of the field's: quota_dimensions, QuotaDimensionsEntry
    bool upper = true;

    for (char c : f->name()) {
        if (c == '_') upper = true;
        else name += upper && c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c;
        if (c != '_') upper = false;
    }
    entry->set_name(name + "Entry");
    entry->mutable_options()->set_map_entry(true);
    for (int n = 1; n <= 2; n++) {
        pb::FieldDescriptorProto *part = entry->add_field();
        part->set_name(n == 1 ? "key" : "value");
        part->set_number(n);
        part->set_label(pb::FieldDescriptorProto::LABEL_OPTIONAL);
        part->set_type(pb::FieldDescriptorProto::TYPE_STRING);
    }
    f->set_label(pb::FieldDescriptorProto::LABEL_REPEATED);
    f->set_type(pb::FieldDescriptorProto::TYPE_MESSAGE);
    f->set_type_name(".google.rpc." + m->name() + "." + entry->name());
}

void rpc_field(pb::DescriptorProto *m, const string &name, string type)
{
    pb::FieldDescriptorProto *f = m->add_field();
    bool repeated = type[0] == '*';

    if (repeated) type.erase(0, 1);
    f->set_name(name);
    f->set_number(m->field_size());
    f->set_label(repeated ? pb::FieldDescriptorProto::LABEL_REPEATED
                          : pb::FieldDescriptorProto::LABEL_OPTIONAL);
    if (type == "map") rpc_map(m, f);
    else if (type == "string") f->set_type(pb::FieldDescriptorProto::TYPE_STRING);
    else if (type == "int32") f->set_type(pb::FieldDescriptorProto::TYPE_INT32);
    else if (type == "int64") f->set_type(pb::FieldDescriptorProto::TYPE_INT64);
    else f->set_type_name(type);
}

// The pool of these types, made when a status first needs it.
const pb::DescriptorPool *rpc_pool()
{
    static std::unique_ptr<pb::DescriptorPool> pool;
    pb::FileDescriptorProto file, own;

    if (pool) return pool.get();
    pool.reset(new pb::DescriptorPool);
    for (const char *name : { "any", "duration", "empty", "field_mask", "struct", "timestamp", "wrappers" }) {
        own.Clear();
        own_file(string("google/protobuf/") + name + ".proto")->CopyTo(&own);
        pool->BuildFile(own);
        file.add_dependency(own.name());
    }
    file.set_name("google/rpc/error_details.proto");
    file.set_package("google.rpc");
    file.set_syntax("proto3");
    for (const row_t &row : rpc_rows) {
        pb::DescriptorProto *m = file.add_message_type();
        const string fields = row.fields;
        m->set_name(row.message);
        for (size_t at = 0, end; at < fields.size(); at = end + 1) {
            size_t colon = fields.find(':', at);
            end = fields.find(' ', at);
            if (end == string::npos) end = fields.size();
            rpc_field(m, fields.substr(at, colon - at), fields.substr(colon + 1, end - colon - 1));
        }
    }
    pool->BuildFile(file);
    return pool.get();
}

} // namespace

// ---- the schema

struct schema_t {
    string error, out, word;                            // what is lent to the caller
    pb::DescriptorPool pool;
    std::map<string, pb::FileDescriptorProto> added;    // not linked yet
    std::deque<string> imports;                         // to be looked at by schema_import
    size_t files = 0, bytes = 0;
    std::vector<string> services;
    std::set<string> asked;                             // imports that were told
    std::set<string> lacks;                             // types of an Any that the last message lacked
    std::set<string> opaque;                            // those that were given up
    bool all_opaque = false;                            // all that are not here are given up
    std::set<string> strings;                           // of methods: a set does not move them
};

namespace {

bool refuse(schema_t *s, const string &why)
{
    s->error = why.substr(0, why.find('\n'));
    return false;
}

// Runs f; what it throws becomes an error. libprotobuf throws where one of its own checks fails.
template <typename F> bool guard(schema_t *s, F f)
{
    try {
        return f();
    } catch (const std::bad_alloc &) {
        return refuse(s, "there is no memory left");
    } catch (const std::exception &e) {
        return refuse(s, string("libprotobuf gives up: ") + e.what());
    }
}

// ---- files

// The name in JSON that a field has by itself.
string default_json_name(const string &name)
{
    string out;
    bool upper = false;

    for (char c : name) {
        if (c != '_') out += upper && c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c;
        upper = c == '_';
    }
    return out;
}

// protoc writes the JSON name of each field, and as text each would show it: only the unusual ones should.
template <typename L> void forget_json_names(L *fields)
{
    for (pb::FieldDescriptorProto &f : *fields) {
        if (f.json_name() == default_json_name(f.name())) f.clear_json_name();
        else if (f.has_json_name()) make_utf8(f.mutable_json_name()); // it can be any bytes
    }
}

void forget_json_names(pb::DescriptorProto *m)
{
    forget_json_names(m->mutable_field());
    forget_json_names(m->mutable_extension());
    for (pb::DescriptorProto &inner : *m->mutable_nested_type()) forget_json_names(&inner);
}

// Takes what is in the file. bytes: that a server has sent for it.
bool add_file(schema_t *s, pb::FileDescriptorProto *taken, size_t bytes)
{
    const pb::FileDescriptorProto &file = *taken;

    if (own_file(file.name()) || s->pool.FindFileByName(file.name()) || s->added.count(file.name()) > 0)
        return true;
    if (++s->files > FILES_MAX)
        return refuse(s, "there are more than " + std::to_string(FILES_MAX) + " files of descriptors");
    if ((s->bytes += bytes) > FILE_BYTES_MAX)
        return refuse(s, "the descriptors are larger than " + std::to_string(FILE_BYTES_MAX) + " bytes");
    for (const pb::DescriptorProto &m : file.message_type())
        if (is_special(file.package() + "." + m.name()))
            return refuse(s, file.name() + ": " + file.package() + "." + m.name() +
                                 " belongs to another file, google/protobuf/");
    for (const string &name : file.dependency()) s->imports.push_back(name);
    pb::FileDescriptorProto &kept = s->added[file.name()];
    kept.Swap(taken);
    forget_json_names(kept.mutable_extension());
    for (pb::DescriptorProto &m : *kept.mutable_message_type()) forget_json_names(&m);
    return true;
}

bool is_here(const schema_t *s, const string &file)
{
    return s->pool.FindFileByName(file) || s->added.count(file) > 0 || own_file(file);
}

// libprotobuf's own words about two files with the same name in them are hard to read.
bool is_new(schema_t *s, const pb::FileDescriptorProto &file)
{
    const string front = file.package().empty() ? string() : file.package() + ".";
    std::vector<string> names;

    for (const auto &m : file.message_type()) names.push_back(front + m.name());
    for (const auto &e : file.enum_type()) names.push_back(front + e.name());
    for (const auto &d : file.service()) names.push_back(front + d.name());
    for (const string &name : names) {
        const pb::FileDescriptor *other = s->pool.FindFileContainingSymbol(name);
        if (other && other->name() != file.name())
            return refuse(s, name + " is in two files, " + other->name() + " and " + file.name() +
                                 "; give one of them, or each by the same name");
    }
    return true;
}

// A file whose imports are all linked.
bool build(schema_t *s, const pb::FileDescriptorProto &file)
{
    Errors errors;
    if (!is_new(s, file)) return false;
    const pb::FileDescriptor *built = s->pool.BuildFileCollectingErrors(file, &errors);

    if (!built) return refuse(s, "the descriptors are wrong: " + errors.first);
    for (int i = 0; i < built->service_count(); i++) s->services.push_back(built->service(i)->full_name());
    return true;
}

struct open_t { const pb::FileDescriptorProto *file; int linked; }; // `linked` of its imports are

// The next import of this file that is not linked; null: all are.
const string *next_import(const schema_t *s, open_t *o)
{
    for (; o->linked < o->file->dependency_size(); o->linked++)
        if (!s->pool.FindFileByName(o->file->dependency(o->linked))) return &o->file->dependency(o->linked);
    return nullptr;
}

// Links a file behind all that it imports. They can be many deep, so the stack is our own.
bool link(schema_t *s, const string &first)
{
    std::vector<open_t> open(1, open_t{ &s->added[first], 0 });
    std::set<string> names{ first };

    while (!open.empty()) {
        const pb::FileDescriptorProto &file = *open.back().file;
        const string *import = next_import(s, &open.back());
        if (!import) {
            if (!build(s, file)) return false;
            names.erase(file.name());
            open.pop_back();
            continue;
        }
        const pb::FileDescriptor *own = own_file(*import);
        if (own) own->CopyTo(&s->added[*import]);
        if (s->added.count(*import) == 0)
            return refuse(s, file.name() + " imports " + *import + ", which is not there");
        if (!names.insert(*import).second)
            return refuse(s, "the imports go round in a circle: " + file.name() + " imports " + *import);
        open.push_back(open_t{ &s->added[*import], 0 });
    }
    return true;
}

bool link_all(schema_t *s)
{
    bool ok = true;
    string why;

    for (auto i = s->added.begin(); i != s->added.end(); ++i) { // link adds files of libprotobuf's, too
        if (s->pool.FindFileByName(i->first)) continue;
        if (!link(s, i->first) && ok) {
            ok = false;
            why = s->error;
        }
    }
    s->added.clear();
    return ok || refuse(s, why);
}

// ---- reflection: fields by their numbers, which are the same in v1 and v1alpha

const pb::UnknownField *find_field(const pb::UnknownFieldSet &m, int number)
{
    const pb::UnknownField *found = nullptr;

    for (int i = 0; i < m.field_count(); i++)
        if (m.field(i).number() == number) found = &m.field(i);
    return found;
}

// The bytes of a field that has some; the last one counts.
const string *find_bytes(const pb::UnknownFieldSet &m, int number)
{
    const pb::UnknownField *f = find_field(m, number);
    return f && f->type() == pb::UnknownField::TYPE_LENGTH_DELIMITED ? &f->length_delimited() : nullptr;
}

enum { REPLY_FILES = 4, REPLY_SERVICES = 6, REPLY_ERROR = 7 };

answer_t take_files(schema_t *s, const pb::UnknownFieldSet &files)
{
    for (int i = 0; i < files.field_count(); i++) {
        const pb::UnknownField &f = files.field(i);
        pb::FileDescriptorProto file;
        if (f.number() != 1 || f.type() != pb::UnknownField::TYPE_LENGTH_DELIMITED) continue;
        if (!file.ParseFromString(f.length_delimited())) {
            refuse(s, "the server's descriptor is not a FileDescriptorProto");
            return ANSWER_WRONG;
        }
        if (!add_file(s, &file, f.length_delimited().size())) return ANSWER_WRONG;
    }
    return ANSWER_FILES;
}

answer_t take_services(schema_t *s, const pb::UnknownFieldSet &list)
{
    s->services.clear();
    for (int i = 0; i < list.field_count(); i++) {
        const pb::UnknownField &f = list.field(i);
        pb::UnknownFieldSet service;
        if (f.number() != 1 || f.type() != pb::UnknownField::TYPE_LENGTH_DELIMITED) continue;
        if (!service.ParseFromString(f.length_delimited())) continue;
        const string *name = find_bytes(service, 1);
        if (name) s->services.push_back(*name);
    }
    return ANSWER_SERVICES;
}

answer_t take_answer(schema_t *s, const string &bytes, int *code)
{
    pb::UnknownFieldSet answer, part;
    const string *inside;

    *code = 0;
    if (answer.ParseFromString(bytes)) {
        inside = find_bytes(answer, REPLY_FILES);
        if (inside && part.ParseFromString(*inside)) return take_files(s, part);
        inside = find_bytes(answer, REPLY_SERVICES);
        if (inside && part.ParseFromString(*inside)) return take_services(s, part);
        inside = find_bytes(answer, REPLY_ERROR);
        if (inside && part.ParseFromString(*inside)) {
            const pb::UnknownField *number = find_field(part, 1);
            const string *words = find_bytes(part, 2);
            if (number && number->type() == pb::UnknownField::TYPE_VARINT)
                *code = static_cast<int>(number->varint());
            refuse(s, words ? *words : string());
            return ANSWER_ERROR;
        }
    }
    refuse(s, "what the server sends is not an answer of server reflection");
    return ANSWER_WRONG;
}

// ---- types for the JSON library

typedef decltype(std::declval<pb::util::TypeResolver &>().ResolveMessageType("", nullptr)) status_t;

// Does nobody have to be asked for it? No type has an empty name, or one with a zero byte.
bool is_opaque(const schema_t *s, const string &type)
{
    return type.empty() || type.find('\0') != string::npos || s->all_opaque || s->opaque.count(type) > 0;
}

// What an Any is in JSON whose type nobody knows: its bytes as a field of this type. The name cannot be one
// of a field in a .proto.
void fill_opaque(const string &name, pb::Type *type)
{
    pb::Field *f = type->add_fields();

    type->set_name(name);
    f->set_kind(pb::Field::TYPE_BYTES);
    f->set_cardinality(pb::Field::CARDINALITY_OPTIONAL);
    f->set_number(1);
    f->set_name("@value");
    f->set_json_name("@value");
}

// Looks types up by what stands behind the last slash of a URL: first here, then among google.rpc's, then
// among those that libprotobuf brings along.
class Resolver : public pb::util::TypeResolver {
public:
    enum use_t { TO_JSON, FROM_JSON, IN_PARTS };

    Resolver(const schema_t *s, use_t what) : schema(s), use(what),
          here(pb::util::NewTypeResolverForDescriptorPool("type.googleapis.com", &s->pool)),
          rpc(pb::util::NewTypeResolverForDescriptorPool("type.googleapis.com", rpc_pool())),
          brought(pb::util::NewTypeResolverForDescriptorPool("type.googleapis.com",
                                                             pb::DescriptorPool::generated_pool()))
    {
    }

    status_t ResolveMessageType(const string &url, pb::Type *type) override
    {
        const string name = type_of_url(url);
        status_t status = here->ResolveMessageType(URL + name, type);

        if (!status.ok()) status = rpc->ResolveMessageType(URL + name, type);
        if (!status.ok() && is_brought(name)) status = brought->ResolveMessageType(URL + name, type);
        if (!status.ok() && use == TO_JSON && is_opaque(schema, name)) {
            fill_opaque(name, type);
            return status_t();
        }
        if (!status.ok() && lacks.empty()) lacks = name;
        if (use == IN_PARTS) make_optional(type);
        return status;
    }

    status_t ResolveEnumType(const string &url, pb::Enum *type) override
    {
        const string name = type_of_url(url);
        status_t status = here->ResolveEnumType(URL + name, type);

        if (!status.ok()) status = rpc->ResolveEnumType(URL + name, type);
        if (!status.ok() && is_brought(name)) status = brought->ResolveEnumType(URL + name, type);
        return status;
    }

    string lacks;               // the first message type that was not found

private:
    bool is_brought(const string &name) const { return &pool_with(schema->pool, name) != &schema->pool; }

    static void make_optional(pb::Type *type)
    {
        for (pb::Field &f : *type->mutable_fields())
            if (f.cardinality() == pb::Field::CARDINALITY_REQUIRED)
                f.set_cardinality(pb::Field::CARDINALITY_OPTIONAL);
    }

    const schema_t *schema;
    use_t use;                  // IN_PARTS: a field is tried alone, without those that are required beside it
    std::unique_ptr<pb::util::TypeResolver> here, rpc, brought;
};

const pb::Descriptor *find_type(const schema_t *s, const string &name)
{
    const pb::Descriptor *d = pool_with(s->pool, name).FindMessageTypeByName(name);
    return d ? d : rpc_pool()->FindMessageTypeByName(name);
}

// ---- a message before it becomes JSON: the types of an Any that are not here are noted, all in one pass;
// the value of an Any that nobody knows becomes what fill_opaque describes, and what is no UTF-8 in a string
// becomes U+FFFD, for libprotobuf would leave it out

void prepare(schema_t *s, const pb::Descriptor *d, string *bytes, int depth);

// Its type; of several URLs the last one counts. libprotobuf refuses a value without a URL.
string prepare_url(pb::UnknownFieldSet *any)
{
    string url;

    for (int i = 0; i < any->field_count(); i++) {
        pb::UnknownField *f = any->mutable_field(i);
        if (f->number() != 1 || f->type() != pb::UnknownField::TYPE_LENGTH_DELIMITED) continue;
        make_utf8(f->mutable_length_delimited());
        url = f->length_delimited();
    }
    if (url.empty() && find_bytes(*any, 2)) any->AddLengthDelimited(1, "/");
    return type_of_url(url);
}

void prepare_any(schema_t *s, pb::UnknownFieldSet *any, int depth)
{
    const string name = prepare_url(any);
    const pb::Descriptor *d = find_type(s, name);

    if (!d && !is_opaque(s, name)) s->lacks.insert(name);
    for (int i = 0; i < any->field_count(); i++) {
        pb::UnknownField *f = any->mutable_field(i);
        if (f->number() != 2 || f->type() != pb::UnknownField::TYPE_LENGTH_DELIMITED) continue;
        if (d) {
            prepare(s, d, f->mutable_length_delimited(), depth - 1);
        } else if (is_opaque(s, name)) {
            pb::UnknownFieldSet whole;
            whole.AddLengthDelimited(1, f->length_delimited());
            whole.SerializeToString(f->mutable_length_delimited());
        }
    }
}

void prepare_fields(schema_t *s, const pb::Descriptor *d, pb::UnknownFieldSet *fields, int depth)
{
    for (int i = 0; i < fields->field_count(); i++) {
        pb::UnknownField *f = fields->mutable_field(i);
        const pb::FieldDescriptor *k = d->FindFieldByNumber(f->number());
        if (!k) continue;
        if (f->type() == pb::UnknownField::TYPE_GROUP) {
            if (k->message_type() && depth > 0)
                prepare_fields(s, k->message_type(), f->mutable_group(), depth - 1);
        } else if (f->type() == pb::UnknownField::TYPE_LENGTH_DELIMITED) {
            if (k->message_type()) prepare(s, k->message_type(), f->mutable_length_delimited(), depth - 1);
            else if (k->type() == pb::FieldDescriptor::TYPE_STRING) make_utf8(f->mutable_length_delimited());
        }
    }
}

void prepare(schema_t *s, const pb::Descriptor *d, string *bytes, int depth)
{
    pb::UnknownFieldSet fields;

    if (depth <= 0 || !fields.ParseFromString(*bytes)) return; // the JSON library says what is wrong
    if (d->full_name() == "google.protobuf.Any") prepare_any(s, &fields, depth);
    else prepare_fields(s, d, &fields, depth);
    bytes->clear();
    fields.SerializeToString(bytes);
}

bool to_json(schema_t *s, const string &type, string message, int flags, string *json)
{
    Resolver resolver(s, Resolver::TO_JSON);
    pb::util::JsonPrintOptions print;
    pb::UnknownFieldSet fields;
    const pb::Descriptor *d = find_type(s, type);

    print.add_whitespace = (flags & SCHEMA_PRETTY) != 0;
    print.always_print_primitive_fields = (flags & SCHEMA_DEFAULTS) != 0;
    json->clear();
    s->lacks.clear();
    if (!d) return refuse(s, "there is no message type " + type);
    if (!fields.ParseFromString(message)) // the JSON library would take a message that ends in its middle
        return refuse(s, "what came is not a " + type);
    prepare(s, d, &message, NEST_MAX);
    if (!s->lacks.empty()) return refuse(s, "the type " + *s->lacks.begin() + " of an Any is not known");
    status_t status = pb::util::BinaryToJsonString(&resolver, URL + type, message, json, print);
    if (status.ok()) return true;
    if (!resolver.lacks.empty()) s->lacks.insert(resolver.lacks);
    return refuse(s, "what came is not a " + type + ": " + string(status.message()));
}

// ---- a message with all of its fields

string quoted(const string &text)
{
    pb::StringValue v;
    string json;

    v.set_value(text);
    return pb::util::MessageToJsonString(v, &json).ok() ? json : "\"\"";
}

// The shortest JSON value of a scalar.
string scalar_default(const pb::FieldDescriptor *f)
{
    switch (f->cpp_type()) {
    case pb::FieldDescriptor::CPPTYPE_INT64:
    case pb::FieldDescriptor::CPPTYPE_UINT64: return "\"0\"";
    case pb::FieldDescriptor::CPPTYPE_BOOL: return "false";
    case pb::FieldDescriptor::CPPTYPE_STRING: return "\"\"";
    case pb::FieldDescriptor::CPPTYPE_ENUM: return "\"" + f->enum_type()->value(0)->name() + "\"";
    case pb::FieldDescriptor::CPPTYPE_MESSAGE: return "{}";
    default: return "0";
    }
}

class Template {
public:
    explicit Template(bool indented) : pretty(indented) {}

    string text;

    void message(const pb::Descriptor *d, int depth)
    {
        bool first = true;

        if (is_special(d->full_name())) return special(d);
        open.insert(d);
        text += '{';
        for (int i = 0; i < d->field_count(); i++) {
            const pb::FieldDescriptor *f = d->field(i);
            const pb::OneofDescriptor *one = f->real_containing_oneof();
            if ((one && one->field(0) != f) || f->type() == pb::FieldDescriptor::TYPE_GROUP) continue;
            if (f->message_type() && (text.size() > TEMPLATE_MAX || depth == NEST_MAX / 4)) continue;
            text += first ? "" : ",";
            first = false;
            line(depth + 1);
            text += quoted(f->json_name()) + (pretty ? ": " : ":");
            field(f, depth + 1);
        }
        if (!first) line(depth);
        text += '}';
        open.erase(d);
    }

private:
    void line(int depth)
    {
        if (pretty) text += '\n' + string(static_cast<size_t>(2 * depth), ' ');
    }

    static string key_default(const pb::FieldDescriptor *key)
    {
        string value = scalar_default(key);
        return value[0] == '"' ? value : '"' + value + '"';
    }

    void field(const pb::FieldDescriptor *f, int depth)
    {
        if (f->is_map()) {
            text += "{" + key_default(f->message_type()->FindFieldByNumber(1)) + (pretty ? ": " : ":");
            value(f->message_type()->FindFieldByNumber(2), depth);
            text += '}';
        } else if (f->is_repeated()) {
            text += '[';
            if (!f->message_type() || open.count(f->message_type()) == 0) value(f, depth);
            text += ']';
        } else {
            value(f, depth);
        }
    }

    void value(const pb::FieldDescriptor *f, int depth)
    {
        if (!f->message_type()) text += scalar_default(f);
        else if (open.count(f->message_type()) > 0) text += "{}"; // a type inside of itself
        else message(f->message_type(), depth);
    }

    void special(const pb::Descriptor *d)
    {
        const string &name = d->name();

        if (name == "Timestamp") text += "\"1970-01-01T00:00:00Z\"";
        else if (name == "Duration") text += "\"0s\"";
        else if (name == "FieldMask") text += "\"\"";
        else if (name == "ListValue") text += "[]";
        else if (name == "Value") text += "null";
        else if (name == "Struct") text += "{}";
        else if (name == "Any") any();
        else text += scalar_default(d->field(0)); // of a wrapper
    }

    void any()
    {
        text += string(pretty ? "{\"@type\": \"" : "{\"@type\":\"") + URL + "google.protobuf.Empty\"}";
    }

    bool pretty;
    std::set<const pb::Descriptor *> open;
};

// ---- JSON in pieces: where is it wrong?
//
// libprotobuf tells the place of an error in several ways, and now and then not at all. So a value that it
// refuses is taken apart, and its parts are tried each for itself.

struct member_t { string key, value; };     // as they stand in the text

// Behind the string that begins here.
size_t string_end(const string &text, size_t at)
{
    for (at++; at < text.size() && text[at] != '"'; at++)
        if (text[at] == '\\') at++;
    return at < text.size() ? at + 1 : text.size();
}

class Pieces {
public:
    explicit Pieces(const string &json) : text(json), at(0) { blanks(); }

    bool is(char c) const { return at < text.size() && text[at] == c; }

    std::vector<member_t> members()         // of an object; of a list, without keys
    {
        std::vector<member_t> all;
        bool object = is('{');

        at++;
        for (blanks(); at < text.size() && !is('}') && !is(']'); blanks()) {
            member_t m;
            size_t start = at;
            if (object) {
                m.key = value();
                blanks();
                at++; // the colon
            }
            m.value = value();
            blanks();
            if (is(',')) at++;
            if (at == start) break; // it is no JSON
            all.push_back(m);
        }
        return all;
    }

private:
    void blanks()
    {
        while (at < text.size() && strchr(" \t\r\n", text[at]) != nullptr && text[at] != '\0') at++;
    }

    string value()
    {
        size_t start, open = 0;

        blanks();
        start = at;
        while (at < text.size()) {
            char c = text[at];
            if (open == 0 && (c == ',' || c == ':' || c == '}' || c == ']')) break;
            if (c == '"') {
                at = string_end(text, at);
            } else {
                if (c == '{' || c == '[') open++;
                if (c == '}' || c == ']') open--;
                at++;
            }
        }
        while (at > start && strchr(" \t\r\n", text[at - 1]) != nullptr) at--;
        return text.substr(start, at - start);
    }

    const string &text;
    size_t at;
};

// What stands between the quotes of a string, as it is written there: it has no zero byte.
string inside(const string &json)
{
    return json.size() >= 2 && json[0] == '"' ? json.substr(1, json.size() - 2) : json;
}

string unquoted(const string &json)
{
    pb::StringValue v;
    return pb::util::JsonStringToMessage(json, &v, pb::util::JsonParseOptions()).ok() ? v.value() : json;
}

const pb::FieldDescriptor *field_named(const pb::Descriptor *d, const string &name)
{
    for (int i = 0; i < d->field_count(); i++)
        if (d->field(i)->json_name() == name || d->field(i)->name() == name) return d->field(i);
    return nullptr;
}

// An object or a list that has begun, and what is read of it: the index in a list; the key in an object, as
// it is written there.
struct level_t {
    bool object;
    size_t index;
    string key;
    std::set<string> keys;
};

// d: the type of the whole; where a type is not known, members are like fields.
string path_of(const std::vector<level_t> &levels, const pb::Descriptor *d)
{
    string path;
    bool map = false;

    for (const level_t &l : levels) {
        if (!l.object) {
            path += "[" + std::to_string(l.index) + "]";
            continue;
        }
        if (map) path += "[\"" + l.key + "\"]";
        else path += (path.empty() ? "" : ".") + l.key;
        const pb::FieldDescriptor *f = !d ? nullptr : map ? d->FindFieldByNumber(2) : field_named(d, l.key);
        map = f && f->is_map();
        d = f ? f->message_type() : nullptr;
    }
    return path;
}

// The path of a key that one object has twice; "": no object has, or it is nested deeper than
// libprotobuf reads. Of such a key libprotobuf takes the last value, or tells of another fault.
string key_twice(const pb::Descriptor *d, const string &json)
{
    std::vector<level_t> levels;
    bool is_key = false;

    for (size_t at = 0, end; at < json.size() && levels.size() <= static_cast<size_t>(NEST_MAX); at = end) {
        const char c = json[at];
        end = c == '"' ? string_end(json, at) : at + 1;
        if (c == '"' && is_key) {
            level_t &l = levels.back();
            const string key = json.substr(at, end - at);
            l.key = inside(key);
            if (!l.keys.insert(key.find('\\') == string::npos ? l.key : unquoted(key)).second)
                return path_of(levels, d);
            is_key = false;
        } else if (c == '{' || c == '[') {
            levels.push_back(level_t{ c == '{', 0, "", {} });
            is_key = c == '{';
        } else if (c == '}' || c == ']') {
            if (!levels.empty()) levels.pop_back();
            is_key = false;
        } else if (c == ',' && !levels.empty()) {
            levels.back().index++;
            is_key = levels.back().object;
        }
    }
    return "";
}

const size_t LISTED = 12;       // names in an error; a type can have hundreds

string listed(const std::vector<string> &names)
{
    string out;

    for (size_t i = 0; i < names.size() && i < LISTED; i++) out += (i > 0 ? ", " : "") + names[i];
    return names.size() > LISTED ? out + " and others" : out;
}

string fields_of(const pb::Descriptor *d)
{
    std::vector<string> names;

    for (int i = 0; i < d->field_count(); i++) names.push_back(d->field(i)->json_name());
    return names.empty() ? "it has no fields" : "it has " + listed(names);
}

string values_of(const pb::EnumDescriptor *e)
{
    std::vector<string> names;

    for (int i = 0; i < e->value_count(); i++) names.push_back(e->value(i)->name());
    return "a value of " + e->full_name() + ": " + listed(names);
}

string wanted_scalar(const pb::FieldDescriptor *f)
{
    switch (f->cpp_type()) {
    case pb::FieldDescriptor::CPPTYPE_INT32: return "a whole number from -2147483648 to 2147483647";
    case pb::FieldDescriptor::CPPTYPE_UINT32: return "a whole number from 0 to 4294967295";
    case pb::FieldDescriptor::CPPTYPE_INT64:
        return "a whole number from -9223372036854775808 to 9223372036854775807";
    case pb::FieldDescriptor::CPPTYPE_UINT64: return "a whole number from 0 to 18446744073709551615";
    case pb::FieldDescriptor::CPPTYPE_DOUBLE: return "a number, \"NaN\", \"Infinity\" or \"-Infinity\"";
    case pb::FieldDescriptor::CPPTYPE_FLOAT:
        return "a number of 32 bits, \"NaN\", \"Infinity\" or \"-Infinity\"";
    case pb::FieldDescriptor::CPPTYPE_BOOL: return "true or false";
    case pb::FieldDescriptor::CPPTYPE_ENUM: return values_of(f->enum_type());
    case pb::FieldDescriptor::CPPTYPE_STRING:
        return f->type() == pb::FieldDescriptor::TYPE_BYTES ? "a string in base64" : "a string";
    default: return "an object";
    }
}

string wanted_message(const pb::Descriptor *d)
{
    static const struct { const char *name, *form; } forms[] = {
        { "Timestamp", "a time such as \"2026-01-02T03:04:05Z\"" },
        { "Duration", "a duration such as \"1.5s\"" },
        { "FieldMask", "a string of paths such as \"user.name,photo\"" },
        { "ListValue", "a list" },
        { "Any", "an object with \"@type\"" },
    };

    if (!is_special(d->full_name())) return "an object, the fields of " + d->full_name();
    for (const auto &f : forms)
        if (d->name() == f.name) return f.form;
    return d->field_count() == 1 && !d->field(0)->is_repeated() ? wanted_scalar(d->field(0)) : "an object";
}

string wanted(const pb::FieldDescriptor *f)
{
    return f->message_type() ? wanted_message(f->message_type()) : wanted_scalar(f);
}

string shortened(const string &json)
{
    size_t n = 60;

    if (json.size() <= n) return json;
    while (n > 0 && (json[n] & 0xC0) == 0x80) n--; // not inside of a character
    return json.substr(0, n) + "...";
}

string wrong(const string &path, const string &json, const string &form)
{
    return (path.empty() ? "" : path + ": ") + shortened(json) + " is not " + form;
}

// What libprotobuf takes and the JSON mapping does not: "yes" for true, "1" for an enum, one value for a
// list, null in a list, a field twice, {"seconds": 5} for a Timestamp. It would mean something else than was
// meant.
class Strict {
public:
    explicit Strict(const schema_t *s) : schema(s) {}

    // Why this JSON, which libprotobuf has taken, is wrong; "": it is right. path: where it stands.
    string message(const pb::Descriptor *d, const string &json, const string &path, int depth) const
    {
        std::set<const pb::FieldDescriptor *> seen;
        string why;

        if (is_special(d->full_name())) return special(d, json, path, depth);
        if (depth == 0 || !Pieces(json).is('{')) return "";
        for (const member_t &m : Pieces(json).members()) {
            const string name = unquoted(m.key), at = path.empty() ? name : path + "." + name;
            const pb::FieldDescriptor *f = field_named(d, name);
            if (!f) continue; // @type, or one that may be unknown
            if (!seen.insert(f).second) return at + ": it is given twice; leave one out";
            why = field(f, m.value, at, depth - 1);
            if (!why.empty()) return why;
        }
        return "";
    }

private:
    string special(const pb::Descriptor *d, const string &json, const string &path, int depth) const
    {
        const string &name = d->name();

        if (name == "Any") return any(json, path, depth);
        if (name == "Struct" || name == "Value") return "";
        if (name == "ListValue" ? !Pieces(json).is('[') : Pieces(json).is('{'))
            return json == "null" ? "" : wrong(path, json, wanted_message(d));
        return name == "BoolValue" && json != "null" ? scalar(d->field(0), json, path) : "";
    }

    string any(const string &json, const string &path, int depth) const
    {
        const std::vector<member_t> all =
            Pieces(json).is('{') ? Pieces(json).members() : std::vector<member_t>();
        const pb::Descriptor *d = nullptr;

        if (depth == 0) return "";
        for (const member_t &m : all)
            if (unquoted(m.key) == "@type") d = find_type(schema, type_of_url(unquoted(m.value)));
        if (!d) return "";
        if (!is_special(d->full_name())) return message(d, json, path, depth);
        for (const member_t &m : all)
            if (unquoted(m.key) == "value") return special(d, m.value, path + ".value", depth - 1);
        return "";
    }

    // null is a value of its own here.
    static bool takes_null(const pb::FieldDescriptor *f)
    {
        if (f->enum_type()) return f->enum_type()->full_name() == "google.protobuf.NullValue";
        return f->message_type() && f->message_type()->full_name() == "google.protobuf.Value";
    }

    string field(const pb::FieldDescriptor *f, const string &json, const string &at, int depth) const
    {
        string why;
        size_t i = 0;

        if (json == "null") return "";
        if (f->is_map()) return map(f, json, at, depth);
        if (!f->is_repeated()) return value(f, json, at, depth);
        if (!Pieces(json).is('[')) return wrong(at, json, "a list");
        for (const member_t &m : Pieces(json).members()) {
            why = element(f, m.value, at + "[" + std::to_string(i++) + "]", depth);
            if (!why.empty()) return why;
        }
        return "";
    }

    string map(const pb::FieldDescriptor *f, const string &json, const string &at, int depth) const
    {
        const pb::FieldDescriptor *key = f->message_type()->FindFieldByNumber(1),
                                  *item = f->message_type()->FindFieldByNumber(2);

        for (const member_t &m : Pieces(json).members()) {
            string why = key->cpp_type() == pb::FieldDescriptor::CPPTYPE_BOOL
                             ? scalar(key, unquoted(m.key), at + ", a key") : "";
            if (why.empty())
                why = element(item, m.value, at + "[" + m.key + "]", depth);
            if (!why.empty()) return why;
        }
        return "";
    }

    string element(const pb::FieldDescriptor *f, const string &json, const string &at, int depth) const
    {
        if (json == "null" && !takes_null(f)) return wrong(at, json, wanted(f));
        return value(f, json, at, depth);
    }

    string value(const pb::FieldDescriptor *f, const string &json, const string &at, int depth) const
    {
        return f->message_type() ? message(f->message_type(), json, at, depth) : scalar(f, json, at);
    }

    static string scalar(const pb::FieldDescriptor *f, const string &json, const string &at)
    {
        bool right = true;

        if (f->cpp_type() == pb::FieldDescriptor::CPPTYPE_BOOL) right = json == "true" || json == "false";
        if (f->enum_type() && json[0] == '"')
            right = f->enum_type()->FindValueByName(unquoted(json)) != nullptr;
        return right ? "" : wrong(at, json, wanted(f));
    }

    const schema_t *schema;
};

class Finder {
public:
    Finder(const schema_t *s, int flags) : schema(s), resolver(s, Resolver::IN_PARTS)
    {
        options.ignore_unknown_fields = (flags & SCHEMA_IGNORE_UNKNOWN) != 0;
    }

    // Why this JSON is no message of type d; "": it is not known. path: where it stands.
    string message(const pb::Descriptor *d, const string &json, const string &path, int depth)
    {
        Pieces pieces(json);
        std::map<const pb::OneofDescriptor *, string> chosen;

        if (!pieces.is('{')) return wrong(path, json, wanted_message(d));
        if (depth == 0) return "";
        for (const member_t &m : pieces.members()) {
            const string name = unquoted(m.key), at = (path.empty() ? "" : path + ".") + inside(m.key);
            const pb::FieldDescriptor *f = field_named(d, name);
            if (name == "@type" && !path.empty()) continue;
            if (!f && options.ignore_unknown_fields) continue;
            if (!f) return at + ": " + d->full_name() + " has no such field; " + fields_of(d);
            if (!fits(d, m.key, m.value)) return field(d, f, m, at, depth - 1);
            if (!f->containing_oneof() || m.value == "null") continue;
            string &other = chosen[f->containing_oneof()];
            if (!other.empty())
                return at + ": " + other + " is given, too; the oneof " + f->containing_oneof()->name() +
                       " takes one field";
            other = name;
        }
        return "";
    }

private:
    bool fits(const pb::Descriptor *d, const string &key, const string &value)
    {
        string out;
        return pb::util::JsonToBinaryString(&resolver, URL + d->full_name(), "{" + key + ":" + value + "}",
                                            &out, options).ok();
    }

    string field(const pb::Descriptor *d, const pb::FieldDescriptor *f, const member_t &m, const string &at,
                 int depth)
    {
        Pieces pieces(m.value);

        if (f->is_map()) return pieces.is('{') ? map(d, f, m, at, depth) : wrong(at, m.value, "an object");
        if (f->is_repeated() && pieces.is('[')) {
            const std::vector<member_t> all = pieces.members();
            for (size_t i = 0; i < all.size(); i++)
                if (!fits(d, m.key, "[" + all[i].value + "]"))
                    return one(f, all[i].value, at + "[" + std::to_string(i) + "]", depth);
        }
        return one(f, m.value, at, depth);
    }

    string map(const pb::Descriptor *d, const pb::FieldDescriptor *f, const member_t &m, const string &at,
               int depth)
    {
        const pb::FieldDescriptor *key = f->message_type()->FindFieldByNumber(1),
                                  *value = f->message_type()->FindFieldByNumber(2);

        for (const member_t &entry : Pieces(m.value).members()) {
            if (fits(d, m.key, "{" + entry.key + ":" + entry.value + "}")) continue;
            if (!fits(d, m.key, "{" + entry.key + ":" + right_value(value) + "}"))
                return wrong(at + ", a key", entry.key, wanted(key));
            return one(value, entry.value, at + "[" + entry.key + "]", depth);
        }
        return "";
    }

    static string right_value(const pb::FieldDescriptor *f)
    {
        Template t(false);

        if (!f->message_type() || !is_special(f->message_type()->full_name())) return scalar_default(f);
        t.message(f->message_type(), 0);
        return t.text;
    }

    // A single value of this field.
    string one(const pb::FieldDescriptor *f, const string &json, const string &at, int depth)
    {
        const pb::Descriptor *d = f->message_type();
        string why;

        if (f->type() == pb::FieldDescriptor::TYPE_STRING && Pieces(json).is('"'))
            return wrong(at, json, "valid Unicode"); // half of a surrogate pair
        if (!d || !Pieces(json).is('{')) return wrong(at, json, wanted(f));
        if (d->full_name() == "google.protobuf.Any") return any(json, at, depth);
        if (is_special(d->full_name())) return wrong(at, json, wanted(f));
        why = message(d, json, at, depth);
        return why.empty() ? wrong(at, json, wanted(f)) : why;
    }

    string any(const string &json, const string &at, int depth)
    {
        for (const member_t &m : Pieces(json).members()) {
            if (unquoted(m.key) != "@type") continue;
            const string url = unquoted(m.value);
            const pb::Descriptor *d = find_type(schema, type_of_url(url));
            if (!d) return at + ".@type: the type of " + shortened(m.value) + " is not known";
            string why = is_special(d->full_name()) ? "" : message(d, json, at, depth);
            return why.empty() ? wrong(at, json, "a message of this @type") : why;
        }
        return at + ": an Any needs \"@type\", such as \"" + URL + "package.Message\"";
    }

    const schema_t *schema;
    Resolver resolver;
    pb::util::JsonParseOptions options;
};

bool from_json(schema_t *s, const string &type, const string &json, int flags, string *message)
{
    Resolver resolver(s, Resolver::FROM_JSON);
    pb::util::JsonParseOptions options;
    const pb::Descriptor *d = find_type(s, type);
    string why;

    options.ignore_unknown_fields = (flags & SCHEMA_IGNORE_UNKNOWN) != 0;
    message->clear();
    s->lacks.clear();
    if (!d) return refuse(s, "there is no message type " + type);
    why = key_twice(d, json);
    if (!why.empty()) return refuse(s, why + ": it is given twice; leave one out");
    status_t status = pb::util::JsonToBinaryString(&resolver, URL + type, json, message, options);
    if (status.ok()) {
        why = Strict(s).message(d, json, "", NEST_MAX);
        return why.empty() || refuse(s, why);
    }
    if (!resolver.lacks.empty()) s->lacks.insert(resolver.lacks);
    if (!is_special(type)) why = Finder(s, flags).message(d, json, "", NEST_MAX);
    if (!why.empty()) return refuse(s, why);
    why = string(status.message());
    return refuse(s, why.compare(0, 2, ": ") == 0 ? why.substr(2) : why);
}

// ---- as text

template <typename D> string debug_text(const D *d)
{
    pb::DebugStringOptions options;

    options.include_comments = true;
    return d->DebugStringWithOptions(options);
}

// Its full name lacks that of its enum; with it the value is found, too.
const pb::EnumValueDescriptor *find_value(const pb::DescriptorPool &p, const string &name)
{
    const size_t dot = name.rfind('.');
    const pb::EnumValueDescriptor *v = p.FindEnumValueByName(name);
    const pb::EnumDescriptor *e =
        v || dot == string::npos ? nullptr : p.FindEnumTypeByName(name.substr(0, dot));

    return e ? e->FindValueByName(name.substr(dot + 1)) : v;
}

bool describe(const schema_t *s, const string &name, string *out)
{
    const pb::DescriptorPool &p = pool_with(s->pool, name);

    out->clear();
    if (const auto *d = p.FindServiceByName(name)) *out = debug_text(d);
    else if (const auto *m = p.FindMethodByName(name)) *out = debug_text(m);
    else if (const auto *t = p.FindMessageTypeByName(name)) *out = debug_text(t);
    else if (const auto *e = p.FindEnumTypeByName(name)) *out = debug_text(e);
    else if (const auto *f = p.FindFieldByName(name)) *out = debug_text(f);
    else if (const auto *x = p.FindExtensionByName(name)) *out = debug_text(x);
    else if (const auto *o = p.FindOneofByName(name)) *out = debug_text(o);
    else if (const auto *v = find_value(p, name)) *out = debug_text(v);
    while (!out->empty() && out->back() == '\n') out->pop_back();
    return !out->empty();
}

const char *keep(schema_t *s, const string &text)
{
    return s->strings.insert(text).first->c_str();
}

void fill_method(schema_t *s, const pb::MethodDescriptor *m, schema_method_t *out)
{
    out->path = keep(s, "/" + m->service()->full_name() + "/" + m->name());
    out->input = keep(s, m->input_type()->full_name());
    out->output = keep(s, m->output_type()->full_name());
    out->client_streams = m->client_streaming();
    out->server_streams = m->server_streaming();
}

bool find_method(schema_t *s, const string &service, const string &name, schema_method_t *out)
{
    const pb::ServiceDescriptor *d = s->pool.FindServiceByName(service);
    const pb::MethodDescriptor *m = d ? d->FindMethodByName(name) : nullptr;
    std::vector<string> names;

    if (!d) return refuse(s, "there is no service " + service);
    if (m) return fill_method(s, m, out), true;
    for (int i = 0; i < d->method_count(); i++) names.push_back(d->method(i)->name());
    return refuse(s, service + " has no method " + name + "; it has " +
                         (names.empty() ? "no methods" : listed(names)));
}

// ---- details of a status

bool detail(schema_t *s, const string &status, size_t place, int flags, const char **type, string *json)
{
    pb::UnknownFieldSet outer, any;

    json->clear();
    s->lacks.clear();
    if (!outer.ParseFromString(status)) return refuse(s, "the details are not a google.rpc.Status");
    for (int i = 0; i < outer.field_count(); i++) {
        const pb::UnknownField &f = outer.field(i);
        if (f.number() != 3 || f.type() != pb::UnknownField::TYPE_LENGTH_DELIMITED || place-- > 0) continue;
        const string *url = any.ParseFromString(f.length_delimited()) ? find_bytes(any, 1) : nullptr;
        s->word = url ? *url : string();
        *type = s->word.c_str();
        return to_json(s, "google.protobuf.Any", f.length_delimited(), flags, json);
    }
    s->error.clear();
    return false;
}

} // namespace

// ---- what schema.h promises

extern "C" {

schema_t *schema_new(void)
{
    static bool prepared;

    if (!prepared) std::atexit(pb::ShutdownProtobufLibrary); // frees what it keeps for all types
    prepared = true;
    pb::SetLogHandler(keep_silent);
    try {
        return new schema_t;
    } catch (const std::exception &) {
        return nullptr;
    }
}

void schema_free(schema_t *s)
{
    delete s;
}

const char *schema_error(const schema_t *s)
{
    return s->error.c_str();
}

bool schema_add_set(schema_t *s, ensign_slice_t set)
{
    return guard(s, [&] {
        pb::FileDescriptorSet files;
        if (!files.ParseFromArray(set.ptr, static_cast<int>(set.len)) || files.file_size() == 0)
            return refuse(s, "it is not a FileDescriptorSet, as protoc --descriptor_set_out writes it");
        for (pb::FileDescriptorProto &file : *files.mutable_file())
            if (!add_file(s, &file, 0)) return false;
        return true;
    });
}

bool schema_add_file(schema_t *s, ensign_slice_t file)
{
    return guard(s, [&] {
        pb::FileDescriptorProto proto;
        if (!proto.ParseFromArray(file.ptr, static_cast<int>(file.len)))
            return refuse(s, "it is not a FileDescriptorProto");
        return add_file(s, &proto, file.len);
    });
}

const char *schema_import(schema_t *s)
{
    while (!s->imports.empty()) {
        s->word = s->imports.front();
        s->imports.pop_front();
        if (!is_here(s, s->word) && s->asked.insert(s->word).second) return s->word.c_str();
    }
    return nullptr;
}

bool schema_link(schema_t *s)
{
    return guard(s, [&] { return link_all(s); });
}

ensign_slice_t schema_question(schema_t *s, ask_t what, const char *name)
{
    pb::UnknownFieldSet m;

    m.AddLengthDelimited(what == ASK_FILE ? 3 : what == ASK_SYMBOL ? 4 : 7, name);
    s->out.clear();
    m.SerializeToString(&s->out);
    return slice_of(s->out);
}

answer_t schema_answer(schema_t *s, ensign_slice_t answer, int *code)
{
    answer_t got = ANSWER_WRONG;

    guard(s, [&] {
        got = take_answer(s, text_of(answer), code);
        return true;
    });
    return got;
}

bool schema_has(const schema_t *s, const char *name)
{
    string text;
    return describe(s, name, &text);
}

const char *schema_service(const schema_t *s, size_t i)
{
    return i < s->services.size() ? s->services[i].c_str() : nullptr;
}

bool schema_method_at(schema_t *s, const char *service, size_t i, schema_method_t *out)
{
    return guard(s, [&] {
        const pb::ServiceDescriptor *d = s->pool.FindServiceByName(service);
        if (!d) return refuse(s, string("there is no service ") + service);
        s->error.clear();
        if (i >= static_cast<size_t>(d->method_count())) return false;
        fill_method(s, d->method(static_cast<int>(i)), out);
        return true;
    });
}

bool schema_method(schema_t *s, const char *service, const char *name, schema_method_t *out)
{
    return guard(s, [&] { return find_method(s, service, name, out); });
}

bool schema_describe(schema_t *s, const char *name, ensign_slice_t *text)
{
    return guard(s, [&] {
        if (!describe(s, name, &s->out)) return refuse(s, string("there is no ") + name);
        *text = slice_of(s->out);
        return true;
    });
}

bool schema_template(schema_t *s, const char *type, bool pretty, ensign_slice_t *json)
{
    return guard(s, [&] {
        const pb::Descriptor *d = pool_with(s->pool, type).FindMessageTypeByName(type);
        Template t(pretty);
        if (!d) return refuse(s, string("there is no message type ") + type);
        t.message(d, 0);
        s->out.swap(t.text);
        *json = slice_of(s->out);
        return true;
    });
}

bool schema_from_json(schema_t *s, const char *type, ensign_slice_t json, int flags, ensign_slice_t *message)
{
    return guard(s, [&] {
        bool ok = from_json(s, type, text_of(json), flags, &s->out);
        *message = slice_of(s->out);
        return ok;
    });
}

bool schema_to_json(schema_t *s, const char *type, ensign_slice_t message, int flags, ensign_slice_t *json)
{
    return guard(s, [&] {
        bool ok = to_json(s, type, text_of(message), flags, &s->out);
        while (!s->out.empty() && s->out.back() == '\n') s->out.pop_back();
        *json = slice_of(s->out);
        return ok;
    });
}

const char *schema_lacks(schema_t *s)
{
    while (!s->lacks.empty()) {
        const string &type = *s->lacks.begin();
        if (!find_type(s, type) && !is_opaque(s, type)) return type.c_str();
        s->lacks.erase(s->lacks.begin());
    }
    return nullptr;
}

void schema_give_up(schema_t *s, const char *type)
{
    if (type) s->opaque.insert(string(type));
    else s->all_opaque = true;
}

bool schema_detail(schema_t *s, ensign_slice_t status, size_t i, int flags, const char **type,
                   ensign_slice_t *json)
{
    return guard(s, [&] {
        bool ok = detail(s, text_of(status), i, flags, type, &s->out);
        *json = slice_of(s->out);
        return ok;
    });
}

} // extern "C"
