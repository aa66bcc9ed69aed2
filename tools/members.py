"""What tools/check_layers knows about structs: which code touches which member of which struct.

This module reads C by its shape. The type of an expression is one name: that of what it leads to in the end.
So p, *p, &p, p[3] and p() have the same type, a declaration is a type and some names, and a chain like
a->b.c[3]->d is resolved from the left, member by member. A struct that the file does not define keeps its
name (`tm`), and its members are left out. An access whose struct cannot be found is never passed over: it
goes to Members.unclear.
"""
import re

NAME = re.compile(r"[A-Za-z_]\w*$")
OURS = re.compile(r"ensi(gn)?_")
ACCESS = (".", "->")
BLOCKS = ("if", "for", "while", "switch")
KEYWORDS = BLOCKS + ("return", "goto", "case", "default", "else", "do", "break", "continue", "sizeof")
QUALIFIERS = ("const", "volatile", "static", "extern", "inline", "register", "restrict", "typedef")
BUILTIN = ("void", "char", "short", "int", "long", "float", "double", "signed", "unsigned", "bool")
SCALAR = re.compile(r"(%s|u?int\w*_t|s?size_t|ptrdiff_t)$" % "|".join(BUILTIN))     # has no members


def is_name(token):
    return bool(NAME.match(token)) and token not in KEYWORDS


class Struct:
    """One struct or union. One without a tag takes the name of what is declared with it: ensi_x_t.member."""

    def __init__(self, line, name, around=None):
        self.line, self.own_name, self.around = line, name, around
        self.types = {}             # of the members, by their names

    @property
    def outer(self):
        return self.around.outer if self.around else self

    @property
    def name(self):
        return ".".join(filter(None, [self.around.name if self.around else "", self.own_name]))


class Tokens:
    """Tokens, their lines, and the partner of each bracket. The last token is "", so that i + 1 exists."""

    def __init__(self, tokens):
        self.text = [t for t, _ in tokens] + [""]
        self.line = [n for _, n in tokens] + [tokens[-1][1] if tokens else 0]
        self.partner, self.alone, waiting = {}, [], []
        for i, t in enumerate(self.text):
            if t in ("(", "[", "{"):
                waiting.append(i)
            elif t in (")", "]", "}"):
                if waiting and self.text[waiting[-1]] + t in ("()", "[]", "{}"):
                    self.partner[i] = waiting.pop()
                    self.partner[self.partner[i]] = i
                else:
                    self.alone.append(i)
        self.alone += waiting

    def behind(self, i):
        """The index behind the brackets that open at i."""
        return self.partner.get(i, len(self.text) - 2) + 1

    def find(self, i, stops):
        """The index, from i on, of the first of the tokens `stops` that is not inside of brackets."""
        while self.text[i] and self.text[i] not in stops:
            i = self.behind(i) if self.text[i] in ("(", "[", "{") else i + 1
        return i


class Members:
    """Reads a text once, from its top. `code` is (token, line) of all but the preprocessor's lines; `macros`
    holds of each #define its name, True if it has parameters, and the (token, line) of its body."""

    def __init__(self, code, macros):
        self.structs, self.aliases, self.results = {}, {}, {}
        self.touches = []           # (line, struct, member)
        self.unclear = []           # (line, what cannot be told)
        # One that names itself wraps the function of that name, and does not hide it.
        self.macros = {name: parameters for name, parameters, body in macros if name not in dict(body)}
        self.scopes, self.parameters = [{}], {}
        self.read(code)
        for i in self.tokens.alone:
            self.cannot_tell(i, "which bracket goes with this `%s`: each branch of an #if must close its own")
        for _, _, body in macros:
            self.scopes = self.scopes[:1]
            self.read(body)

    def cannot_tell(self, i, what):
        self.unclear.append((self.tokens.line[i], what % self.tokens.text[i]))

    # ---- the walk

    def read(self, tokens):
        self.tokens = Tokens(tokens)
        i, begins = 0, True         # begins: a statement begins here
        while i < len(self.tokens.text) - 1:
            if begins:
                self.declare(i)
            token = self.tokens.text[i]
            if token == "{":
                self.scopes.append(self.parameters)
                self.parameters = {}
            elif token == "}" and len(self.scopes) > 1:
                self.scopes.pop()
            elif token in ACCESS:
                self.access(i)
            elif token == "offsetof":
                i = self.offset(i)
            begins = token in (";", "{", "}") or (token == "(" and self.tokens.text[i - 1] == "for")
            i += 1

    def access(self, i):
        if self.tokens.text[i + 1] == "." or not is_name(self.tokens.text[i + 1]):
            return                  # of `...`
        begin = self.begin(i)
        self.touch(i + 1, None if begin is None else self.unary(begin, i))

    def touch(self, i, base):
        """Notes that the member at i is touched, of the type `base`. Returns the member's type."""
        member, struct = self.tokens.text[i], self.struct(base)
        if struct and member in struct.types:
            self.touches.append((self.tokens.line[i], struct, member))
        elif base is None or struct or OURS.match(self.origin(base)) or SCALAR.match(self.origin(base)):
            self.cannot_tell(i, "of which struct `%s` is a member: declare what stands before it, or cast it")
        return self.member(base, member)

    def offset(self, i):
        """offsetof(type, member.member[3])"""
        end = self.tokens.behind(i + 1)
        base, i = self.type_at(i + 2)
        while i < end:
            if self.tokens.text[i] in (",", "."):
                base = self.touch(i + 1, base)
            i += 1
        return end - 1

    # ---- declarations

    def declare(self, i):
        """Enters what the statement at i declares, if it declares anything. The parameters of a function wait
        for its block."""
        base, behind = self.type_at(i)
        for name, parameters, end in self.declarators(behind) if base else ():
            self.give_name(base, name)
            if "typedef" in self.tokens.text[i:behind]:
                self.aliases[name] = base
            elif parameters is None:
                self.scopes[-1][name] = base
            else:
                self.results[name] = base
                if self.tokens.text[end] == "{":
                    self.parameters = dict(self.parameters_at(parameters))

    def parameters_at(self, i):
        end = self.tokens.behind(i) - 1
        while i < end:
            base, at = self.type_at(i + 1)
            for name, _, _ in self.declarators(at, ",)"):
                yield name, base
                break
            i = self.tokens.find(i + 1, ",)")

    def type_at(self, i):
        """The type that is written at i, or None, and the index behind it."""
        base, text = None, self.tokens.text
        while True:
            if text[i] in ("struct", "union", "enum"):
                base, i = self.tagged(i)
            elif text[i] in QUALIFIERS:
                i += 1
            elif text[i] in self.macros and self.macros[text[i]] and text[i + 1] == "(":
                i = self.tokens.behind(i + 1)
            elif text[i] in self.macros:
                i += 1
            elif text[i] in BUILTIN or (base is None and is_name(text[i])):
                base = text[i]
                i += 1
            else:
                return base, i

    def tagged(self, i):
        kind, text = self.tokens.text[i], self.tokens.text
        tag = text[i + 1] if is_name(text[i + 1]) else None
        i += 2 if tag else 1
        if text[i] != "{":
            return tag, i
        if kind == "enum":
            return "int", self.tokens.behind(i)
        base = tag or "{%d" % len(self.structs)     # of an unnamed one: no type is called so
        self.structs.setdefault(base, Struct(self.tokens.line[i], tag))
        self.fields(self.structs[base], i)
        return base, self.tokens.behind(i)

    def fields(self, struct, i):
        end = self.tokens.behind(i) - 1
        i += 1
        while i < end:
            base, i = self.type_at(i)
            names = [name for name, _, _ in self.declarators(i)]
            for name in names:
                struct.types[name] = base
                self.give_name(base, name, struct)
            if not names and base in self.structs:      # C11: its members are members of this one
                struct.types.update(self.structs[base].types)
                self.give_name(base, "", struct)
            i = self.tokens.find(i, ";") + 1

    def give_name(self, base, name, around=None):
        struct = self.structs.get(base)
        if struct and struct.own_name is None:
            struct.own_name, struct.around = name, around

    def declarators(self, i, ends=",;"):
        """Reads `*a, b[3] = {0}, (*c)(int), d(int)`. Yields each name, the index of a function's parameters
        or None, and the index behind the declarator. Yields nothing where no declaration goes on."""
        text = self.tokens.text
        while True:
            while text[i] == "*" or text[i] in QUALIFIERS:
                i += 1
            name, parameters, i = self.declarator(i)
            while text[i] in ("[", "(") or self.macros.get(text[i]):
                i = self.tokens.behind(i + 1 if text[i] in self.macros else i)
            if name is None or text[i] not in ("=", ";", ",", ")", ":", "{"):
                return
            yield name, parameters, i
            i = self.tokens.find(i, ends)
            if text[i] != ",":
                return
            i += 1

    def declarator(self, i):
        text = self.tokens.text
        if is_name(text[i]):
            return text[i], i + 1 if text[i + 1] == "(" else None, i + 1
        if text[i] == "(" and text[i + 1] == "*":
            behind, at = self.tokens.behind(i), i + 1
            while text[at] == "*" or text[at] in QUALIFIERS:
                at += 1
            if is_name(text[at]) and text[behind] in ("(", "["):
                return text[at], None, behind
        return None, None, i

    # ---- expressions

    def begin(self, i):
        """The index where the expression begins whose member the . or -> at i takes. None: not found."""
        text, i = self.tokens.text, i - 1
        while True:
            while text[i] in (")", "]") and i in self.tokens.partner:
                i = self.tokens.partner[i]
                if text[i] == "(" and not self.is_call(i):
                    return i
                i -= 1
            if not is_name(text[i]):
                return None
            if text[i - 1] not in ACCESS:
                return i
            i -= 2

    def is_call(self, i):
        """True if the parentheses at i hold the arguments of what stands before them."""
        before = self.tokens.text[i - 1]
        if before == ")":
            opens = self.tokens.partner.get(i - 1, 0)
            return self.tokens.text[opens - 1] not in BLOCKS and not self.cast(opens)
        return before == "]" or is_name(before)

    def cast(self, i):
        """The type in the parentheses at i. None: they hold an expression, or no operand follows them."""
        (base, at), text = self.type_at(i + 1), self.tokens.text
        while text[at] == "*" or text[at] in QUALIFIERS:
            at += 1
        if at != self.tokens.partner.get(i) or self.known(base):
            return None
        return base if text[at + 1] in ("(", "*", "&") or text[at + 1][:1].isalnum() else None

    def expression(self, i, end):
        """The type of what stands in parentheses: that of its first operand, or of an arm other than NULL."""
        choice = self.tokens.find(i, "?)")
        if self.tokens.text[choice] == "?":
            i = choice + 1
            if self.tokens.text[i] == "NULL":
                i = self.tokens.find(i, ":") + 1
        return self.unary(i, end)

    def unary(self, i, end):
        text = self.tokens.text
        while text[i] in ("&", "*"):
            i += 1
        base = self.cast(i) if text[i] == "(" else None
        if base:
            return base
        if text[i] == "(":
            base = self.expression(i + 1, self.tokens.behind(i) - 1)
            i = self.tokens.behind(i)
        else:
            base = self.known(text[i])
            i += 1
        while i < end and (text[i] in ("(", "[") or text[i] in ACCESS):
            if text[i] in ACCESS:
                base = self.member(base, text[i + 1])
            i = i + 2 if text[i] in ACCESS else self.tokens.behind(i)
        return base

    def known(self, name):
        """The type of a variable or of a function's result."""
        for scope in reversed(self.scopes):
            if name in scope:
                return scope[name]
        return self.results.get(name)

    def origin(self, base):
        """What a typedef stands for."""
        while base not in self.structs and self.aliases.get(base, base) != base:
            base = self.aliases[base]
        return base

    def struct(self, base):
        return self.structs.get(self.origin(base))

    def member(self, base, name):
        """The type of a member. None: the struct has no such member. In a foreign struct all is foreign."""
        struct = self.struct(base)
        return struct.types.get(name) if struct else base
