# Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0
# options.sh - the command line itself: order, spellings, mistakes, help, exit codes.
. "$(dirname "$0")/lib.sh"
model=$data/hf/qwen3_tied_bf16

# bridge alone, versions, help
expect 0
says 'bridge import Qwen/Qwen3-8B'
[ "$(grep -c '^  bridge ' "$out")" = 5 ] || fail "not five things"
silent
for v in --version -V; do
    expect 0 $v
    [[ $(cat "$out") =~ ^'bridge 1.0.0'(' ('[0-9a-f]{12,}('+changes')?')')?$ ]] || fail "version"
done
expect 0 --help
says 'usage: bridge COMMAND'
commands='help,import,export,verify,roundtrip,plan import,plan export,inspect,diff,download,toy,list,plugin list,plugin show,plugin check'
while read -r command; do
    expect 0 help $command
    says "usage: bridge $command"
    says 'examples:'
    cp "$out" by_help
    expect 0 $command --help
    cmp -s "$out" by_help || [ "$command" = help ] || fail "'$command --help' is not 'help $command'"
    expect 0 help
    says "  $command "
done < <(tr ',' '\n' <<<"$commands")
expect 0 help plan
says 'plan export'
expect 0 plan --help
says 'plan export'
expect 2 help exprot
complains "did you mean 'export'?"
expect 0 help environment
says BRIDGE_PLUGIN_PATH

# the documented exit codes are those of the header
expect 0 help exit-codes
for line in '0  ok' '1  the two sides differ' '2  wrong usage' '8  tensors do not fit the model' '14  in use by another process'; do
    says "$line"
done

# mistakes
expect 2 imprt
complains "unknown command 'imprt'; did you mean 'import'?"
expect 2 zzzzzz
complains "unknown command 'zzzzzz'"
grep -q 'did you mean' "$err" && fail "a far word is suggested"
expect 2 import --hf-modle x
complains "unknown option '--hf-modle'; did you mean '--hf-model'?"
expect 2 import -Z x
complains "unknown option '-Z'"
expect 2 import --hash x
complains "option '--hash' is not for 'import'; it is for: inspect"
expect 2 import
complains "'import' needs --hf-model ID|DIR"
complains "bridge help import"
expect 2 import "$model" "$model"
complains "unexpected argument"
expect 2 import --hf-model
complains "option '--hf-model' needs a value: ID|DIR"
expect 2 import --hf-model --json
complains "needs a value: ID|DIR, got option '--json'"
expect 2 import --json=1 "$model"
complains "option '--json' takes no value, got '1'"
expect 2 import --hf-model= -n
complains "option '--hf-model' is empty"
expect 2 export ./x --hf-path ''
complains "option '--hf-path' is empty"
expect 2 --hf-model "$model"
complains "no command given"
expect 2 plan
complains "'plan' needs one of: import, export"
expect 2 plan improt
complains "'plan' has no 'improt'; it has: import, export"
expect 2 inspect
complains "'inspect' needs DIR"
expect 2 diff a
complains "'diff' needs A B"
expect 2 diff a b c
complains "unexpected argument 'c'"
expect 2 list recipes
complains "cannot list 'recipes'"
expect 2 verify
complains "verify needs --hf-model ID or DIR, --megatron-path DIR, or both"
expect 2 plan import
complains "--config FILE"
expect 2 plan import "$model" --config "$model/config.json"
complains "not both"

# values
for bad in x -1 1.5 '' 99999999999999999999; do
    expect 2 import "$model" -n --threads="$bad"
done
complains "expected a whole number from 0 to 4096"
expect 2 import "$model" -n --threads 5000
complains "from 0 to 4096"
expect 2 import "$model" -n --pad-vocab-to 0
complains "from 1 to 16777216"
expect 2 import "$model" -n --torch-dtype int8
complains "expected float32|float16|bfloat16|auto"
expect 2 import "$model" -n --layers both
complains "expected stacked|per-layer"
for bad in 5XB GB 0 -5GB 1e3 99999999999GB; do
    expect 2 export x -n --max-shard-size="$bad"
    complains "expected a size such as 500MB or 5GB"
done
expect 2 toy qwen3 -o t --set layers
complains "expected key=value"

# one meaning, many spellings
expect 0 plan import "$model" --json
mv "$out" want
for line in "plan import --hf-model $model --json" "plan import --hf-model=$model --json" \
    "--hf-model $model plan import --json" "--json plan --hf-model $model import" \
    "plan --json import $model" "plan import --hf_model $model --json" \
    "plan import --hf_model_path=$model --json" "plan import --model $model --json" \
    "plan import --json -- $model" "plan import --json -q -j1 $model" \
    "plan import --json -qj 1 $model" "plan import --json --torch_dtype auto $model"; do
    expect 0 $line
    # the estimate of memory follows the number of threads
    diff <(grep -v peak_private want) <(grep -v peak_private "$out") >/dev/null || fail "differs: $line"
done
for d in float32 torch.float32 fp32; do
    expect 0 import "$model" -n --json --torch-dtype $d
    json '.tensors | all(.dtype == "float32")'
done
expect 11 inspect -- --json
complains -- --json
expect 0 plan export "$data/torch_dist/qwen3/torch_dist" --max-shard-size 0.1MB --json
json '[.tensors[].file] | unique | length > 1'

# other tools' options do nothing, and say so
expect 0 import "$model" -n --device-map auto --trust-remote-code -tp 2 --pp=2 --expert_parallel_size 4
for option in --device-map --trust-remote-code -tp --pp --expert_parallel_size; do
    [ "$(grep -c -e "note: $option has no effect: " "$err")" = 1 ] || fail "one line about $option"
done
expect 0 import "$model" -n -q --device-map auto
silent

# output that cannot be written is an error
if [ -w /dev/full ]; then
    got=0
    "$BRIDGE" help >/dev/full 2>"$err" || got=$?
    [ "$got" = 3 ] || fail "writing to a full disk gave $got"
fi

# -v says where an error arose
expect 2 import -v
complains "(E_USAGE in "
done_ok
