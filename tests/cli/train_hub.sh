# Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0
# train_hub.sh - finetuning data that is a data set of the hub: the same run as with its records in a folder, fetched
# once, offline too; splits, subsets and formats; what is refused.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/libhub.sh"
model=$data/train/qwen2_sft/model
records=$data/train/qwen2_sft/data/training.jsonl
sets=root/datasets
mkdir -p "$sets/org/qa" "$sets/org/shards/data" "$sets/org/table/data" "$sets/org/list" "$sets/org/gated-qa" \
    "$sets/rajpurkar/squad/plain_text" "$sets/org/two/en" "$sets/org/two/de" "$sets/org/csv" "$sets/org/bad" "$sets/org/chat" "$sets/org/one"

train() { # NAME STATUS SETTING...: two steps; the losses are in runs/NAME/log.jsonl
    local name=$1 status=$2
    shift 2
    expect "$status" train qwen2_500m_finetune_config --peft none --single-rank hf_model="$model" \
        pretrained_checkpoint="$model" seq_length=64 micro_batch_size=2 global_batch_size=4 train_iters=2 lr=1e-3 \
        lr_warmup_iters=1 mixed_precision=fp32 eval_iters=0 save_interval=null dir=runs name="$name" --no-sync "$@"
}
losses() { jq -c '[.lm_loss, .grad_norm, .tokens]' "runs/$1/log.jsonl"; }
same() { cmp <(losses "$1") <(losses "$2") || fail "$1 and $2 differ"; }
form='dataset_kwargs={"prompt_template":"Question: {input} Answer: {output}"}'

cp "$records" "$sets/org/qa/train.jsonl"
head -n 8 "$records" >"$sets/org/qa/validation.jsonl"
echo '# questions' >"$sets/org/qa/README.md"
n=$(wc -l <"$records")
head -n 5 "$records" >"$sets/org/shards/data/train-00000-of-00002.jsonl"
tail -n +6 "$records" >"$sets/org/shards/data/train-00001-of-00002.jsonl"
jq -s . "$records" >"$sets/org/list/train.json"
cp "$data/data/squad.parquet" "$sets/rajpurkar/squad/plain_text/train-00000-of-00001.parquet"
printf -- '---\nconfigs:\n- config_name: plain_text\n  data_files:\n  - split: train\n    path: plain_text/train-*\n---\n' \
    >"$sets/rajpurkar/squad/README.md"
cp "$data/data/squad.parquet" "$sets/org/table/data/train-00000-of-00001.parquet"
cp "$records" "$sets/org/two/en/train.jsonl"
tac "$records" >"$sets/org/two/de/train.jsonl"
echo a,b >"$sets/org/csv/train.csv"
cp "$records" "$sets/org/gated-qa/train.jsonl"
(head -n 3 "$records" && echo '{"input": ') >"$sets/org/bad/train.jsonl"
for i in 1 2 3 4 5; do
    printf '{"messages": [{"role": "user", "content": "green %d"}, {"role": "assistant", "content": "sky"}]}\n' $i
done >"$sets/org/chat/train.jsonl"
head -n 1 "$records" >"$sets/org/one/train.jsonl"
hub_up

# A set is a folder with the same records; its validation split is one if none is held back.
mkdir folder
cp "$records" folder/training.jsonl
train folder 0 dataset_path=folder do_validation=false "$form"
train set 0 dataset_path=org/qa do_validation=false "$form"
same folder set
says 'runs/set/cache/org-qa-'
[ "$(requests hub 'validation.jsonl')" = 0 ] || fail "a split that is not wanted is fetched"
[ -d home/hub/datasets--org--qa/snapshots ] || fail "not in the cache of huggingface_hub"
train valid 0 dataset_path=org/qa val_proportion=null eval_iters=1 "$form"
cmp runs/valid/cache/org-qa-*/validation.jsonl "$sets/org/qa/validation.jsonl"
jq -e -s 'any(.split == "valid")' runs/valid/log.jsonl >/dev/null || fail "no evaluation"

# The recipe's share is held back otherwise: every record is in one of the two files.
train held 0 dataset_path=org/qa eval_iters=1 "$form"
says "0.1 of the training records of 'org/qa' are held back for validation"
[ "$(wc -l <"$(echo runs/held/cache/org-qa-*/validation.jsonl)")" = $(((n + 9) / 10)) ] || fail "not a tenth"
cmp <(sort runs/held/cache/org-qa-*/*.jsonl) <(sort "$records") || fail "records are lost"
train one 5 dataset_path=org/one eval_iters=1 "$form"
complains "'org/one' has 1 records for training, of which 1 would be held back for validation; val_proportion=null holds back none"

# A second run fetches nothing, offline nobody is asked, and the token files of another run are not needed.
hub_up
train set 0 dataset_path=org/qa do_validation=false "$form"
[ "$(requests hub resolve)$(requests cdn '')" = 00 ] || fail "fetched again: $(cat "$hub_log")"
HF_HUB_OFFLINE=1 train offline 0 dataset_path=org/qa do_validation=false "$form"
same folder offline
rm -r home/hub/datasets--org--qa/trees
HF_HUB_OFFLINE=1 train nolist 0 dataset_path=org/qa do_validation=false "$form"
same folder nolist
HF_HUB_OFFLINE=1 train never 11 dataset_path=org/shards do_validation=false "$form"
complains "'org/shards' is neither a directory nor a data set in the local Hugging Face cache"

# Several files are one split; an array, and Parquet, are records too.  A dry run fetches and leaves nothing behind.
train shards 0 dataset_path=org/shards do_validation=false "$form"
same folder shards
train list 0 dataset_path=org/list do_validation=false "$form"
same folder list
train dry 0 dataset_path=org/qa do_validation=false "$form" --dry-run
says "training.jsonl: $n samples"
[ ! -e runs/dry ] || fail "a dry run writes"
train table 0 dataset_path=org/table do_validation=false \
    'dataset_kwargs={"prompt_template":"{context} {question}","label_key":"question","truncation_field":"context"}'
[ "$(wc -l <"$(echo runs/table/cache/org-table-*/training.jsonl)")" = 10 ] || fail "not the rows of the Parquet file"

# The recipe's own data is SQuAD, whose records become prompts as Megatron Bridge makes them.
train squad 0 do_validation=false
head -n 10 "$records" | jq -c '{input: "Context: \(.input) Question: \(.output)? Answer:", output}' >want
cmp <(jq -c . runs/squad/cache/rajpurkar-squad-*/training.jsonl) want || fail "prompts differ"

# Subsets are folders, or the configurations of the card.
train en 0 dataset_path=org/two dataset_subset=en do_validation=false "$form"
same folder en
train fr 11 dataset_path=org/two dataset_subset=fr do_validation=false "$form"
complains "data set 'org/two' has neither a configuration 'fr' nor a folder of that name"
train config 11 dataset_path=rajpurkar/squad dataset_subset=v2 do_validation=false "$form"
complains "has no configuration 'v2'; dataset_subset names one of plain_text"

# What cannot be had.
train name 11 dataset_path=org/qas do_validation=false "$form"
complains "the hub has no data set 'org/qas'; did you mean 'org/qa'?"
train gated 18 dataset_path=org/gated-qa do_validation=false "$form"
complains "accept them at $HF_ENDPOINT/datasets/org/gated-qa"
HF_TOKEN=hf_good train gated 0 dataset_path=org/gated-qa do_validation=false "$form"
train csv 12 dataset_path=org/csv do_validation=false "$form"
complains "data set 'org/csv' has no JSONL and no Parquet files, and others cannot be read; its files are train.csv"
train bad 4 dataset_path=org/bad do_validation=false global_batch_size=2 "$form"
complains "training.jsonl, line 4"
train bad 0 dataset_path=org/bad do_validation=false global_batch_size=2 "$form" --skip-bad-records
complains "training.jsonl, line 4"
train chat 11 dataset_path=org/chat do_validation=false # a set that nobody described holds conversations
complains 'has no chat template'
train both 5 dataset_path=folder dataset_hf_path=org/qa
complains "dataset_path 'folder' and dataset_hf_path 'org/qa' both name the data"
train unknown 12 dataset_name=cord_v2
complains "dataset_name 'cord_v2' is not known here; known are squad, gsm8k, openmathinstruct2, tulu3"
done_ok
