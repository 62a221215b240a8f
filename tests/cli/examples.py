"""The example commands of the files given, one JSON string a line: .Dl lines of manual pages, sh blocks of Markdown. A backslash at the end of
a line, or "> " before the next, goes on."""
import json, re, sys

def lines(path):
    text = open(path).read()
    if path.endswith(".md"):
        for block in re.findall(r"```sh\n(.*?)```", text, re.S):
            yield from block.splitlines()
        return
    for s in re.findall(r"^\.Dl (.*)", text, re.M):
        s = re.sub(r"^(\\ )*", "", s)
        yield s.replace(r"\(dq", '"').replace(r"\&", "").replace(r"\-", "-").replace(r"\e", "\\")

for path in sys.argv[1:]:
    commands = []
    for s in lines(path):
        if commands and (commands[-1].endswith("\\") or s.startswith("> ")):
            commands[-1] += "\n" + s.removeprefix("> ")
        elif not re.match(r"(\$ )?(in=|\[|make)", s):
            commands.append(s.removeprefix("$ "))
    for c in commands:
        print(json.dumps(c))
