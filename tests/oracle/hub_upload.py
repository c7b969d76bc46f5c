# Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0
"""hub_upload.py BRIDGE HUB_SERVER WORK - uploads of bridge and of the real huggingface_hub to one hub.

Against the hub of tests/hub on 127.0.0.1, so that the hub that bridge is tested with is one that the real client takes:
what either uploads the other reads back and has nothing to add to; both leave out the same files and send the same
objects in the same way; branches and private repositories of the one are those of the other."""
import filecmp
import json
import os
import shutil
import subprocess
import sys

from hub_lib import Hub, environment

BRIDGE, SERVER, WORK = (os.path.abspath(a) for a in sys.argv[1:4])


def open_hub(name, *options):
    return Hub(SERVER, WORK, name, "--seconds", "600", "--store-host", "127.0.0.2", *options)


def client(endpoint, token="hf_good"):
    return environment(endpoint, f"{WORK}/home", HF_HUB_DISABLE_XET="1", HF_HUB_OFFLINE="0",
                       **({"HF_TOKEN": token} if token else {}))


def run(argv, endpoint, status=0, token="hf_good"):
    p = subprocess.run(argv, env=client(endpoint, token), stdout=subprocess.PIPE, text=True)
    assert p.returncode == status, (argv, p.returncode, p.stdout)
    return json.loads(p.stdout) if p.stdout.strip() else None


def python(code, endpoint, **more):
    """Run code with the real huggingface_hub; its output is JSON."""
    return run([sys.executable, "-W", "ignore", "-c", "import json, sys, huggingface_hub as h\na = h.HfApi()\n" + code],
               endpoint, **more)


def bridge(*arguments, endpoint, **more):
    return run([BRIDGE, *arguments, "--json"], endpoint, **more)


def names(path):
    return sorted(os.path.relpath(os.path.join(d, f), path) for d, _, files in os.walk(path) for f in files
                  if "/.cache" not in d and "/.git/" not in d + "/")


def read_back(repo, endpoint, revision="main"):
    """The files of a branch as each of the two reads them."""
    for path in (f"{WORK}/back", f"{WORK}/theirs"):
        shutil.rmtree(path, ignore_errors=True)
    shutil.rmtree(f"{WORK}/home", ignore_errors=True)
    python(f"print(json.dumps(h.snapshot_download('{repo}', revision='{revision}', local_dir='{WORK}/theirs')))", endpoint)
    bridge("download", f"{repo}@{revision}", "--local-dir", f"{WORK}/back", endpoint=endpoint)
    found = names(f"{WORK}/back")
    assert found == names(f"{WORK}/theirs"), (found, names(f"{WORK}/theirs"))
    for name in found:
        assert filecmp.cmp(f"{WORK}/back/{name}", f"{WORK}/theirs/{name}", shallow=False), name
    return found


def same_as_source(found, left_out):
    want = sorted(set(names(f"{WORK}/model")) - set(left_out) | {".gitattributes"})
    assert found == want, (found, want)
    for name in found:
        if name != ".gitattributes":
            assert filecmp.cmp(f"{WORK}/model/{name}", f"{WORK}/back/{name}", shallow=False), name


def requests(hub):
    """Kinds of requests that write, without numbers and signatures: how an upload looks from the hub."""
    kinds = []
    for line in hub.lines():
        if line[1] in ("PUT", "POST") and line[3] == "200" and "validate-yaml" not in line[2]:
            path = line[2].split("?")[0].replace("org/ours", "R").replace("org/theirs", "R")
            kinds.append((line[0], line[1], path, line[6]))
    return sorted(set(kinds) - {k for k in kinds if k[2] == "/api/repos/create"})


THEIRS = "i = a.upload_folder(repo_id='%s', folder_path='" + WORK + "/model', revision='%s', commit_message='m');" \
         "print(json.dumps(i.oid))"
LEFT_OUT = ["secret.txt", "deep/secret.key"]


def each_way(options):
    seen = []
    shutil.rmtree(f"{WORK}/models/org", ignore_errors=True)
    for who in ("ours", "theirs"):
        shutil.rmtree(f"{WORK}/models/.lfs", ignore_errors=True)
        with open_hub(f"{who}{len(options)}", *options) as hub:
            repo, e = f"org/{who}", hub.endpoint
            if who == "ours":
                sha = bridge("upload", f"{WORK}/model", repo, "--create", endpoint=e)["commit"]
            else:
                python(f"a.create_repo('{repo}', exist_ok=True); print()", e)
                sha = python(THEIRS % (repo, "main"), e)
            seen.append(requests(hub))
            assert python(f"print(json.dumps(a.model_info('{repo}').sha))", e) == sha
            same_as_source(read_back(repo, e), LEFT_OUT)
            # the other one has nothing to add, and neither commits again
            again = bridge("upload", f"{WORK}/model", repo, endpoint=e)
            assert again["committed_files"] == 0 and again["commit"] == sha, again
            assert [f["path"] for f in again["files"] if f["ignored"]] == sorted(LEFT_OUT), again["files"]
            assert python(THEIRS % (repo, "main"), e) == sha
    assert seen[0] == seen[1], (sorted(set(seen[0]) ^ set(seen[1])))
    return seen[0]


def branches():
    with open_hub("branches") as hub:
        e = hub.endpoint
        bridge("upload", f"{WORK}/model", "org/secret@next", "--create", "--private", endpoint=e)
        assert python("print(json.dumps(sorted(b.name for b in a.list_repo_refs('org/secret').branches)))", e) == ["main", "next"]
        same_as_source(read_back("org/secret", e, "next"), LEFT_OUT)
        assert python("print(json.dumps(a.list_repo_files('org/secret')))", e) == [".gitattributes"]
        code = "try:\n    a.model_info('org/secret')\nexcept h.errors.RepositoryNotFoundError:\n    print('true')\n"
        assert python(code, e, token=None)
        # theirs: ours goes on where they were
        python("a.create_repo('org/hers', private=True); a.create_branch('org/hers', branch='b'); print()", e)
        sha = python(THEIRS % ("org/hers", "b"), e)
        with open(f"{WORK}/model/README.md", "a") as f:
            f.write("more\n")
        mine = bridge("upload", f"{WORK}/model", "org/hers@b", endpoint=e)
        assert mine["committed_files"] == 1 and mine["commit"] != sha, mine
        same_as_source(read_back("org/hers", e, "b"), LEFT_OUT)
        # both are refused alike
        bridge("upload", f"{WORK}/model", "org/theirs", endpoint=e, status=18, token="hf_read")
        code = f"try:\n    a.upload_folder(repo_id='org/theirs', folder_path='{WORK}/model')\n" \
               "except h.errors.HfHubHTTPError as x:\n    print(x.response.status_code)\n"
        assert python(code, e, token="hf_read") in (403, 404)


def main():
    shutil.rmtree(WORK, ignore_errors=True)
    os.makedirs(f"{WORK}/models")
    subprocess.run([BRIDGE, "toy", "qwen3", "-o", f"{WORK}/model", "--set", "vocab_size=8000"], check=True,
                   stdout=subprocess.DEVNULL)
    os.makedirs(f"{WORK}/model/deep/.git")
    texts = {"tokenizer.json": "{}", "README.md": "read\n", "empty.txt": "", ".gitignore": "secret.txt\n*.key\n",
             "secret.txt": "s", "deep/secret.key": "s", "deep/a b \u00fc.json": "[]", ".git/HEAD": "", "deep/.git/x": ""}
    for name, text in texts.items():
        os.makedirs(os.path.dirname(f"{WORK}/model/{name}"), exist_ok=True)
        with open(f"{WORK}/model/{name}", "w") as f:
            f.write(text)
    with open(f"{WORK}/model/one.bin", "wb") as f:
        f.write(bytes(range(256)) * 3000)
    whole, parts = each_way([]), each_way(["--chunk", "300000"])
    assert any("/complete/" in k[2] for k in parts) and not any("/complete/" in k[2] for k in whole)
    branches()
    print("ok: huggingface_hub", __import__("huggingface_hub").__version__)


main()
