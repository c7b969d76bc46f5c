# Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0
"""hub_interop.py BRIDGE HUB_SERVER WORK - the real huggingface_hub and bridge on one cache.

Against the hub of tests/hub on 127.0.0.1: each reads what the other downloaded, offline, and asks for no
file again; both at once fetch every byte once; scan_cache_dir finds nothing wrong."""
import filecmp
import json
import os
import shutil
import subprocess
import sys
import time

import hub_lib

BRIDGE, SERVER, WORK = (os.path.abspath(a) for a in sys.argv[1:4])
MODEL = "Qwen/toy"


class Hub(hub_lib.Hub):
    def __init__(self, name, *options):
        super().__init__(SERVER, WORK, name, "--seconds", "300", "--page", "3", *options)

    def file_requests(self):
        """Requests for the bytes of files."""
        return [line for line in self.lines() if line[1] == "GET" and "/api/models/" not in line[2]]

    def cdn_bytes(self):
        return sum(int(line[5]) for line in self.file_requests() if line[0] == "cdn")


def environment(home, endpoint, offline=False):
    return hub_lib.environment(endpoint, f"{WORK}/{home}", HF_HUB_OFFLINE="1" if offline else "0")


def python(code, home, endpoint, offline=False, wait=True):
    """Run code with the real huggingface_hub; its last line of output is JSON."""
    p = subprocess.Popen([sys.executable, "-c", "import json, huggingface_hub as h\n" + code],
                         env=environment(home, endpoint, offline), stdout=subprocess.PIPE, text=True)
    return result(p) if wait else p


def bridge(arguments, home, endpoint, offline=False, wait=True):
    p = subprocess.Popen([BRIDGE, *arguments], env=environment(home, endpoint, offline), stdout=subprocess.PIPE,
                         text=True)
    return result(p) if wait else p


def result(p):
    out, _ = p.communicate()
    assert p.returncode == 0, (p.args, p.returncode, out)
    return json.loads(out)


SNAPSHOT = f"print(json.dumps(h.snapshot_download('{MODEL}')))"
LOCAL_DIR = f"print(json.dumps(h.snapshot_download('{MODEL}', local_dir='%s')))"
SCAN = "c = h.scan_cache_dir(); print(json.dumps([[str(w) for w in c.warnings], c.size_on_disk, " \
       "[[r.repo_id, r.nb_files, sorted(v.commit_hash for v in r.revisions), sorted(r.refs)] for r in c.repos]]))"


def same_files(path, ignore=()):
    source = f"{WORK}/models/{MODEL}"
    names = sorted(os.path.relpath(os.path.join(d, f), source) for d, _, files in os.walk(source) for f in files)
    for name in names:
        if name not in ignore:
            assert filecmp.cmp(f"{source}/{name}", f"{path}/{name}", shallow=False), name
    return names


def check_scan(home, endpoint):
    warnings, size, repos = python(SCAN, home, endpoint, offline=True)
    assert warnings == [], warnings
    assert [r[0] for r in repos] == [MODEL] and repos[0][3] == ["main"], repos
    return size, repos


def ours_for_them():
    with Hub("ours") as hub:
        path = bridge(["download", MODEL, "--json"], "ours", hub.endpoint)["path"]
        names = same_files(path)
    with Hub("ours2") as hub:
        assert os.path.realpath(python(SNAPSHOT, "ours", hub.endpoint, offline=True)) == os.path.realpath(path)
        assert os.path.realpath(python(SNAPSHOT, "ours", hub.endpoint)) == os.path.realpath(path)
        for name in names:
            got = python(f"print(json.dumps(h.hf_hub_download('{MODEL}', '{name}')))", "ours", hub.endpoint)
            assert os.path.realpath(got) == os.path.realpath(f"{path}/{name}")
        missing = python(f"r = h.try_to_load_from_cache('{MODEL}', 'model.safetensors.index.json');"
                         "print(json.dumps(r is h._CACHED_NO_EXIST))", "ours", hub.endpoint, offline=True)
        assert not missing  # `download` looks for no such file; `import` does, below
        bridge(["import", MODEL, "--megatron-path", f"{WORK}/ours.megatron", "--json"], "ours", hub.endpoint)
        assert python(f"r = h.try_to_load_from_cache('{MODEL}', 'model.safetensors.index.json');"
                      "print(json.dumps(r is h._CACHED_NO_EXIST))", "ours", hub.endpoint, offline=True)
        assert hub.file_requests() == [], hub.file_requests()
        return check_scan("ours", hub.endpoint)


def theirs_for_us():
    with Hub("theirs") as hub:
        path = python(SNAPSHOT, "theirs", hub.endpoint)
        same_files(path)
    with Hub("theirs2") as hub:
        assert os.path.realpath(bridge(["download", MODEL, "--json"], "theirs", hub.endpoint)["path"]) == \
            os.path.realpath(path)
        bridge(["import", MODEL, "--megatron-path", f"{WORK}/theirs.megatron", "--json"], "theirs", hub.endpoint,
               offline=True)
        assert hub.file_requests() == [], hub.file_requests()
        return check_scan("theirs", hub.endpoint)


def same_tree(a, b):
    """Names, links and sizes of the two caches, but for what only one tool writes."""
    def tree(root):
        found = {}
        for d, _, files in os.walk(f"{WORK}/{root}/hub/models--Qwen--toy"):
            for f in files:
                p = os.path.join(d, f)
                if ".no_exist" not in p:
                    found[os.path.relpath(p, f"{WORK}/{root}")] = \
                        os.readlink(p) if os.path.islink(p) else os.path.getsize(p)
        return found
    x, y = tree(a), tree(b)
    assert x == y, (sorted(set(x.items()) ^ set(y.items())))


def both_at_once():
    size = os.path.getsize(f"{WORK}/models/{MODEL}/model.safetensors")
    for i, delay in enumerate((0, 0.4, 1.2)):
        with Hub(f"both{i}", "--rate", "12000000") as hub:
            them = python(SNAPSHOT, f"both{i}", hub.endpoint, wait=False)
            time.sleep(delay)  # Python takes a while to start
            us = [bridge(["download", MODEL, "--json"], f"both{i}", hub.endpoint, wait=False) for _ in range(2)]
            same_files(result(them))
            for p in us:
                same_files(result(p)["path"])
            assert hub.cdn_bytes() == size, (hub.cdn_bytes(), size)
            check_scan(f"both{i}", hub.endpoint)


def local_dir():
    with Hub("local") as hub:
        bridge(["download", MODEL, "--local-dir", f"{WORK}/mine", "--json"], "local", hub.endpoint)
        python(LOCAL_DIR % f"{WORK}/yours", "local2", hub.endpoint)
    with Hub("local2") as hub:
        python(LOCAL_DIR % f"{WORK}/mine", "local", hub.endpoint)
        again = bridge(["download", MODEL, "--local-dir", f"{WORK}/yours", "--json"], "local2", hub.endpoint)
        assert again["cached_files"] == again["files"] == len(same_files(f"{WORK}/yours")), again
        same_files(f"{WORK}/mine")
        assert hub.file_requests() == [], hub.file_requests()


SCANNED = "c = h.scan_cache_dir(); print(json.dumps([[r.repo_type, r.repo_id, r.size_on_disk, r.nb_files, " \
          "sorted([v.commit_hash, sorted(v.refs)] for v in r.revisions)] for r in c.repos]))"
FREED = "c = h.scan_cache_dir(); print(json.dumps(c.delete_revisions(*%r).expected_freed_size))"


def listed(home, endpoint):
    """`bridge cache ls` in the words of scan_cache_dir."""
    return sorted([r["kind"], r["id"], r["bytes"], r["files"],
                   sorted([commit, sorted(v["ref"] for v in r["revisions"] if v["commit"] == commit and v["ref"])]
                          for commit in {v["commit"] for v in r["revisions"]})]
                  for r in bridge(["cache", "ls", "--json"], home, endpoint)["repositories"])


def cache():
    """`bridge cache` shows, removes and prunes what huggingface_hub's own view of the cache says."""
    with Hub("cache") as hub:
        e = hub.endpoint

        def same():
            theirs = sorted(python(SCANNED, "cache", e, offline=True))
            assert theirs == listed("cache", e), (theirs, listed("cache", e))
            return theirs

        bridge(["download", MODEL, "--json"], "cache", e)
        python(f"print(json.dumps(h.snapshot_download('{MODEL}', revision='v2')))", "cache", e)
        python("print(json.dumps(h.snapshot_download('Qwen/other')))", "cache", e)
        assert len(same()) == 2
        # a revision: its own files go, what the other one has too stays
        v2 = [c for c, refs in same()[1][4] if refs == ["v2"]]
        want = python(FREED % (tuple(v2),), "cache", e, offline=True)
        assert bridge(["cache", "rm", f"{MODEL}@v2", "--json"], "cache", e)["freed_bytes"] == want > 0
        same()
        # detached ones, as `hf cache prune` takes them
        python(f"print(json.dumps(h.snapshot_download('{MODEL}', revision='v2')))", "cache", e)
        os.remove(f"{WORK}/cache/hub/models--Qwen--toy/refs/v2")
        assert [refs for _, refs in same()[1][4]].count([]) == 1
        want = python(FREED % (tuple(v2),), "cache", e, offline=True)
        assert bridge(["cache", "prune", "--json"], "cache", e)["freed_bytes"] == want
        same()
        bridge(["cache", "rm", "Qwen/other", "--json"], "cache", e)
        assert len(same()) == 1
        path = python(SNAPSHOT, "cache", e, offline=True)
        same_files(path)


def globs():
    """--include and --exclude choose what fnmatch chooses."""
    with Hub("globs") as hub:
        for n, (allow, ignore) in enumerate([("*.json", "gen*"), ("onnx/", None), ("*/model*", None),
                                             ("[a-c]*", "*.txt"), ("[!a-g]*", None), ("?????*.json", "*x")]):
            arguments = ["download", MODEL, "--json", "--local-dir", f"{WORK}/g{n}", "--include", allow]
            bridge(arguments + (["--exclude", ignore] if ignore else []), "globs", hub.endpoint)
            python(f"print(json.dumps(h.snapshot_download('{MODEL}', local_dir='{WORK}/h{n}', "
                   f"allow_patterns={allow!r}, ignore_patterns={ignore!r})))", "globs2", hub.endpoint)
            names = [sorted(os.path.relpath(os.path.join(d, f), top) for d, _, files in os.walk(top) for f in files
                            if ".cache" not in d) for top in (f"{WORK}/g{n}", f"{WORK}/h{n}")]
            assert names[0] == names[1] and names[0], (allow, ignore, names)


def main():
    shutil.rmtree(WORK, ignore_errors=True)
    os.makedirs(f"{WORK}/models/Qwen")
    subprocess.run([BRIDGE, "toy", "qwen3", "-o", f"{WORK}/models/{MODEL}", "--set", "vocab_size=40000", "hidden_size=192"],
                   check=True, stdout=subprocess.DEVNULL)
    os.makedirs(f"{WORK}/models/{MODEL}/onnx/deep")
    for name, text in {"tokenizer.json": "{}", "README.md": "read", "merges.txt": "a b", "empty.txt": "",
                       "onnx/model.onnx": "graph", "onnx/deep/a.json": "[]"}.items():
        with open(f"{WORK}/models/{MODEL}/{name}", "w") as f:
            f.write(text)
    assert ours_for_them() == theirs_for_us()
    same_tree("ours", "theirs")
    both_at_once()
    local_dir()
    globs()
    os.makedirs(f"{WORK}/models/{MODEL}@v2/onnx")
    for name in ("config.json", "model.safetensors"):
        shutil.copy(f"{WORK}/models/{MODEL}/{name}", f"{WORK}/models/{MODEL}@v2/{name}")
    for path in (f"{WORK}/models/{MODEL}@v2/onnx/new.onnx", f"{WORK}/models/Qwen/other/config.json"):
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w") as f:
            f.write("another one" * 1000)
    cache()
    print("ok: huggingface_hub", __import__("huggingface_hub").__version__)


main()
