# Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0
# readme.sh - README.md: the tour is run and prints what stands there; every other line that begins with a command of
# bridge is run too, on small models under the names that the page uses.
. "$(dirname "$0")/libpage.sh"
. "$(dirname "$0")/lib.sh"
one_thread
page=$data/../../README.md
program_in_path
mkdir -p build/release/bin
cp .bin/bridge build/release/bin

# Seconds and rates differ from run to run; /tmp/tour is a folder of this test.
page_filter() {
    sed -E -e "s|/tmp/tour|$work/tour|g" -e 's/[0-9]+\.[0-9]+ ([kMG]?B\/)?s\b/N s/g'
}
run_page "$page" 9

# The names on the page.
model=$data/hf/qwen3_tiny_chat
mkdir Qwen run
cp -r "$model" Qwen3-0.6B
cp "$data/chat/chat_template.jinja" Qwen3-0.6B
chmod -R u+w Qwen3-0.6B
sed -i 's/"max_position_embeddings": [0-9]*/"max_position_embeddings": 1024/' Qwen3-0.6B/config.json
cp -r Qwen3-0.6B Qwen/Qwen3-8B
"$BRIDGE" import -q Qwen3-0.6B --no-sync >/dev/null
cp -r Qwen3-0.6B-megatron/iter_0000000 run/iter_0004000
"$BRIDGE" recipe show qwen3_8b_pretrain_config >my.recipe
echo some text >FILE
mkdir chat
for _ in $(seq 128); do echo '{"input": "a", "output": "b"}'; done >chat/training.jsonl
"$BRIDGE" train qwen3_600m_finetune_config --peft lora pretrained_checkpoint=./Qwen3-0.6B hf_model=./Qwen3-0.6B \
    dataset_path=./chat do_validation=false eval_iters=0 train_iters=1 lr_warmup_iters=0 global_batch_size=1 dir=. name=lora \
    seq_length=64 --no-sync -q >/dev/null

# A command ends where its description begins: at two blanks, or at an arrow.
count=0
while IFS= read -r line; do
    line=$(sed -E 's/ +-> .*|  +.*//' <<<"$line")
    [[ $line != 'bridge bench '* ]] || line+=' --repeat 1'
    rc=0
    HF_HUB_OFFLINE=1 bash -c "$line" <<<hello >"$out" 2>"$err" || rc=$?
    last=$line
    case $line:$rc in
    *:0) ;;
    *@main*:11) ;; # a model of the hub, which is not asked
    *) fail "exit status $rc" ;;
    esac
    count=$((count + 1))
done < <(sed -n -E 's/^    (bridge |build\/release\/bin\/bridge )/\1/p' "$page")
[ "$count" -ge 15 ] || fail "only $count commands"

# Whatever else is indented and no output is a command that another test runs.
while IFS= read -r line; do
    case $line in
    bridge\ * | '$ '*) ;;
    scripts/quickstart\ *) ;; # cli/quickstart.sh
    scripts/test\ *) ;;       # this
    'cmake --install '*) ;;   # sdk/kit.sh
    '(cd build/release && cpack -G DEB)'*) ;; # sdk/deb.sh
    'scripts/wheel '*) ;; # sdk/wheel.sh
    '(cd build/release && cpack -G TGZ)'*) ;; # sdk/portable.sh
    *) fail "README has a command that no test runs: $line" ;;
    esac
done < <(awk '/^    / { if (!block) on = /^    \$ /; block = 1; if (!on) print substr($0, 5); next } { block = 0 }' "$page")
done_ok
