#!/usr/bin/env python3
"""power_loss.py SHIM EVERY WORK NAME COMMAND [OLD-COMMAND]: what a directory may hold after a loss of power at any moment of
COMMAND, as the log of tests/fault/shim_log.h tells. A write or a change of a directory that is not on disk yet (fsync of
the file, of the directory) may be lost:

- in order: of the operations that are not on disk, each number of the first ones is there
- late data: the same, but names have reached the disk and no data that was not synced has
- torn: the same as the first, but of the last write one half

In each of these states the output is absent, what OLD-COMMAND left, or whole: each file alone, the directory "out" as one;
and whole once the command has ended.
And in one of EVERY the command, given again, ends in the bytes of a run without the loss and leaves no temporary. Of
"run", a run directory, that alone is asked."""
import os
import posixpath
import re
import shutil
import subprocess
import sys


class Tree:
    """Directories and files by inode; what a log line does to them is found with a tree that has seen all before it."""

    def __init__(self):
        self.node = {0: {}}  # directory: name -> inode; file: bytearray

    def lookup(self, path):
        at = 0
        for part in [p for p in path.split("/") if p]:
            at = self.node[at].get(part) if isinstance(self.node.get(at), dict) else None
            if at is None:
                return None
        return at

    def apply(self, effect):
        kind, args = effect[0], effect[1:]
        if kind == "link":
            inode, directory, name, is_dir = args
            self.node.setdefault(inode, {} if is_dir else bytearray())
            self.node.setdefault(directory, {})[name] = inode
        elif kind == "unlink":
            self.node.get(args[0], {}).pop(args[1], None)
        elif kind == "move":
            a, name_a, b, name_b, exchange = args
            for directory in (a, b):
                self.node.setdefault(directory, {})
            x, y = self.node[a].pop(name_a, None), self.node[b].get(name_b)
            if x is not None:
                self.node[b][name_b] = x
            if exchange and y is not None:
                self.node[a][name_a] = y
        elif kind == "data":
            inode, offset, data = args
            file = self.node.setdefault(inode, bytearray())
            file.extend(bytes(max(0, offset - len(file))))
            file[offset : offset + len(data)] = data
        elif kind == "truncate":
            file = self.node.setdefault(args[0], bytearray())
            del file[args[1] :]

    def files(self, at=0, below=""):
        """{path: bytes}, and path/ for directories."""
        out = {}
        for name, inode in self.node[at].items():
            node = self.node[inode]
            if isinstance(node, dict):
                out[below + name + "/"] = None
                out.update(self.files(inode, below + name + "/"))
            else:
                out[below + name] = bytes(node)
        return out


def read(root):
    """A Tree of a directory as it is."""
    tree, number = Tree(), 0
    for path, dirs, files in os.walk(root):
        at = tree.lookup(path[len(root) :])
        for name in dirs + files:
            number += 1
            tree.apply(("link", number, at, name, name in dirs))
            if name in files:
                with open(os.path.join(path, name), "rb") as f:
                    tree.node[number] = bytearray(f.read())
    return tree


def effects(log, old_root):
    """The log as effects, each with the place in the list from which on it is on disk."""
    live, out, fd_at, fd_dir = read(old_root), [], {}, {}
    number, synced = [max(live.node)], []

    def inside(dirfd, name):
        """The path below the directory that the tool ran in; None: elsewhere."""
        base = "" if int(dirfd) == -100 else fd_dir.get(dirfd)
        if base is None or name.startswith("/"):
            return None
        path = posixpath.normpath(posixpath.join(base, name))
        return None if path.startswith("..") else "" if path == "." else path

    def parent(path):
        return live.lookup(posixpath.dirname(path)), posixpath.basename(path)

    def happen(effect, waits_for):
        out.append([effect, waits_for])
        live.apply(effect)

    with open(log, encoding="utf-8") as lines:
        for line in lines:
            kind, rest = line.rstrip("\n").split(" ", 1)
            if kind == "open":
                fd, created, dirfd, name = rest.split(" ", 3)
                path = inside(dirfd, name)
                fd_at[fd], fd_dir[fd] = None, path
                if path is None:
                    continue
                if int(created):
                    number[0] += 1
                    directory, base = parent(path)
                    happen(("link", number[0], directory, base, False), {directory})
                fd_at[fd] = live.lookup(path)
            elif kind in ("write", "truncate"):
                fd, at, *data = rest.split(" ")
                if fd_at.get(fd) is not None:
                    data = ("data", fd_at[fd], int(at), bytes.fromhex(data[0])) if kind == "write" else ("truncate", fd_at[fd], int(at))
                    happen(data, {fd_at[fd]})
            elif kind == "fsync":
                if fd_at.get(rest) is not None:
                    synced.append((len(out), fd_at[rest]))
            elif kind == "mkdir":
                dirfd, name = rest.split(" ", 1)
                path = inside(dirfd, name)
                if path is not None:
                    number[0] += 1
                    directory, base = parent(path)
                    happen(("link", number[0], directory, base, True), {directory})
            elif kind == "unlink":
                dirfd, name = rest.split(" ", 1)
                path = inside(dirfd, name)
                if path is not None:
                    directory, base = parent(path)
                    happen(("unlink", directory, base), {directory})
            elif kind == "rename":
                flags, da, db, names = rest.split(" ", 3)
                a, b = (inside(d, n) for d, n in zip((da, db), names.split("\t")))
                if a is not None and b is not None:
                    (x, name_a), (y, name_b) = parent(a), parent(b)
                    happen(("move", x, name_a, y, name_b, flags == "2"), {x, y})
    # on disk from the first place on at which all that it waits for was synced after it
    for i, (effect, waits_for) in enumerate(out):
        ends = [min((n for n, inode in synced if inode == want and n > i), default=None) for want in waits_for]
        out[i] = (effect, len(out) + 1 if None in ends else max(ends))
    return out, live


def states(todo, old):
    """(what, {path: bytes}) of every state, each content once."""
    seen = set()

    def build(k, loose, j, late=False, torn=False):
        tree, kept = Tree(), set(loose[:j])
        tree.node = {i: dict(n) if isinstance(n, dict) else bytearray(n) for i, n in old.node.items()}
        last = max((i for i in kept if todo[i][0][0] == "data"), default=None) if torn else None
        for i, (effect, on_disk) in enumerate(todo[:k]):
            if on_disk >= k and (i not in kept or (late and effect[0] in ("data", "truncate"))):
                continue
            if i == last:
                effect = effect[:3] + (effect[3][: len(effect[3]) // 2],)
            tree.apply(effect)
        return tree.files()

    end = len(todo)
    yield "after it ended well", build(end + 1, [i for i in range(end) if todo[i][1] > end], 0)
    for k in range(end + 1):
        loose = [i for i in range(k) if todo[i][1] >= k]  # the fsync itself may have been still to come
        for j in range(len(loose) + 1):
            for how in ({}, {"late": True}, {"torn": True}):
                files = build(k, loose, j, **how)
                key = hash(tuple(sorted(files.items(), key=lambda f: f[0])))
                if key not in seen:
                    seen.add(key)
                    yield f"after {k} of {end} operations, {j} of {len(loose)} not synced {' '.join(how)}", files


def is_temporary(name):
    return re.search(r"\.tmp-|\.gone-|(^|/)\.lock$", name)


def settled(files):
    """Without temporaries, and without the one file of a run that has times in it."""
    return {n: d for n, d in files.items() if not is_temporary(n) and not n.endswith("telemetry.mpz")}


def outputs(files):
    """What is whole or not: {name: content}."""
    out = {}
    for name, data in settled(files).items():
        if name.startswith("run/") or name == "d/":
            continue
        top = "out" if name.startswith("out/") else name
        out.setdefault(top, []).append((name, data))
    return {top: sorted(content) for top, content in out.items()}


def put(root, files):
    shutil.rmtree(root, ignore_errors=True)
    os.mkdir(root)
    for name, data in sorted(files.items()):
        path = os.path.join(root, name)
        if data is None:
            os.mkdir(path)
        else:
            with open(path, "wb") as f:
                f.write(data)


def run(command, root, **env):
    r = subprocess.run(command.split(), cwd=root, env={**os.environ, **env}, capture_output=True, check=False, timeout=60)
    return r.returncode, r.stderr.decode(errors="replace")


def main(shim, every, work, name, command, old_command=""):
    old, live, log = (os.path.join(work, f"{name}.{x}") for x in ("old", "live", "log"))
    put(old, {})
    if old_command and run(old_command, old)[0]:
        return print(f"FAIL power_loss.{name}: {old_command} fails")
    before = read(old).files()
    put(live, before)
    rc, said = run(command, live, LD_PRELOAD=shim, FAULT_LOG=log)
    after = read(live).files()
    todo, replayed = effects(log, old)
    if rc or replayed.files() != after or len(todo) < 3:
        return print(f"FAIL power_loss.{name}: exit {rc}, or the log does not tell what was done\n{said}")
    want, was, now, n, again, bad = settled(after), outputs(before), outputs(after), 0, 0, []
    for what, files in states(todo, read(old)):
        n += 1
        have = outputs(files)
        lost = [f for f in want if f not in files or files[f] != want[f]] if n == 1 else []
        if lost:
            bad.append(f"{what}: not on disk: {lost}")
        for top in {**was, **now}:
            if have.get(top) not in (was.get(top), now.get(top)):
                bad.append(f"{what}: {top} is neither old nor new")
        if n * 0x9E3779B97F4A7C15 % 2**64 >> 33 >= 2**31 // every:
            continue
        again += 1
        put(live, files)
        rc, said = run(command, live)
        end = read(live).files()
        left = [f for f in end if is_temporary(f)]
        if rc or left or settled(end) != want:
            bad.append(f"{what}: the command again: exit {rc}, left {left}\n{said}")
    print("\n".join(bad[:5]), file=sys.stderr)
    print(f"FAIL power_loss.{name}: {len(bad)} times" if bad else f"ok power_loss.{name}: {n} states, {again} run again")


main(sys.argv[1], int(sys.argv[2]), *sys.argv[3:])
