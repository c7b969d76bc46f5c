# Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0
# recipe.sh - recipe list, show, diff, check, keys: what they print, and every way in which they refuse.
. "$(dirname "$0")/lib.sh"
pre=qwen3_8b_pretrain_config fine=qwen3_8b_finetune_config

# ---- list ----
expect 0 recipe list
says 'recipe                              mode      TP  PP  EP  CP  GPUs   seq  gbs      lr'
says "$pre            pretrain   2   1   1   1    16  4096   32  0.0003"
expect 0 recipe list --model qwen3_8b --mode lora --json
json '[.recipes[] | [.recipe, .mode, .tp, .gpus, .lr]] == [["qwen3_8b_finetune_config", "lora", 1, 8, 1e-4]]'
expect 0 recipe list --gpus 256 --json
json '[.recipes[].recipe] == ["qwen3_next_80b_a3b_pretrain_config", "qwen3_next_80b_a3b_finetune_config"]'
expect 0 recipe list --model qwen3_moe --json # a plugin
json '[.recipes[].plugin] | unique == ["qwen3_moe"]'
json '.recipes | length == 8'
expect 0 recipe list --model Qwen/Qwen2.5-7B --json # a Hugging Face id
json '.recipes | length == 4'
expect 0 recipe list --model qwen2 --json # not qwen25
json 'all(.recipes[]; .plugin == "qwen2")'
expect 0 recipe list --gpus 7 --json
json '.recipes == []'

# ---- show: a file that can be edited and given back ----
for mode in pretrain lora; do
    name=$pre
    [ $mode = pretrain ] || name=$fine
    expect 0 recipe show $name
    says "recipe = $name"
    cp "$out" my.recipe
    expect 0 recipe show $name --json
    cp "$out" direct.json
    expect 0 recipe show --recipe-file my.recipe --json
    jq -S 'del(.provenance)' "$out" >have && jq -S . direct.json >want
    cmp -s want have || fail "the file is not the recipe: $(diff want have | head -n 5)"
    expect 0 recipe show --recipe-file my.recipe
    cmp -s my.recipe "$out" || fail "the file is not shown as it is"
    expect 0 recipe diff $name ./my.recipe
done
# Everything but comments may be written; the mode's own values come back with it.
expect 0 recipe show $fine --peft dora
cp "$out" dora.recipe
expect 0 recipe show --recipe-file dora.recipe --json
json '.mode == "dora" and .peft_class == "DoRA" and .peft_alpha == 64'

# A few lines over a recipe; --set wins over the file, and both over the recipe.
cat >small.recipe <<'END'
# my run
recipe = qwen3_8b_pretrain_config
name = "run 7"          # a text with a blank
gbs = 64
lr=1e-3 min_lr=1e-4     # two on a line
data_paths = ["/data/a b.jsonl", "/data/c"]
END
expect 0 recipe show --recipe-file small.recipe --set lr=2e-3 'dir=/runs/of me' --json --provenance
json '.name == "run 7" and .dir == "/runs/of me" and .global_batch_size == 64 and .lr == 0.002 and .min_lr == 1e-4'
json '.data_paths == ["/data/a b.jsonl", "/data/c"]'
json '.provenance.global_batch_size == {"from": "small.recipe", "line": 4} and .provenance.lr.from == "--set"'
expect 0 recipe show $pre --recipe-file small.recipe --set train-iters=1_000 seq=8192 --json
json '.train_iters == 1000 and .eff_lr_decay_iters == 1000 and .dataset_seq_length == 8192'
expect 0 recipe show $pre --set hf_path=Qwen/Other --json # what refers to it follows
json '.tokenizer_model == "Qwen/Other"'
# A setting bound to a mode counts in that mode only.
expect 0 recipe show $fine --peft none --set sft.lr=1e-5 lora.lr=1e-3 --json
json '.lr == 1e-5'

# Every keyword argument of upstream's recipe functions, and paths in its configuration.
expect 0 recipe show qwen3_30b_a3b_pretrain_config --json --set hf_path=a dir=b name=c 'data_paths=["d"]' \
    data_args_path=e 'train_data_path=["f"]' 'valid_data_path=["g"]' 'test_data_path=["h"]' \
    per_split_data_args_path=i mock=True tensor_model_parallel_size=2 pipeline_model_parallel_size=2 \
    pipeline_dtype=torch.bfloat16 virtual_pipeline_model_parallel_size=2 context_parallel_size=2 \
    expert_model_parallel_size=4 expert_tensor_parallel_size=1 sequence_parallel=True use_megatron_fsdp=False \
    train_iters=9000 global_batch_size=64 micro_batch_size=1 seq_length=8192 lr=1e-4 min_lr=1e-5 \
    lr_warmup_iters=100 lr_decay_iters=8000 eval_interval=10 save_interval=20 use_null_tokenizer=True \
    precision_config=bf16_mixed comm_overlap_config=CommOverlapConfig enable_recompute=False mtp_num_layers=None \
    account_for_embedding_in_pipeline_split=False account_for_loss_in_pipeline_split=False \
    moe_flex_dispatcher_backend=deepep mtp_loss_scaling_factor=None disable_jit_fuser=True \
    check_for_nan_in_grad=False
json '.tp == 2 and .pp == 2 and .vpp == 2 and .cp == 2 and .ep == 4 and .etp == 1 and .mock and .disable_jit_fuser'
json '.tokenizer_type == "NullTokenizer" and .tokenizer_model == null and .tokenizer_vocab_size == 32000'
json '.recompute_granularity == null and .lr_decay_iters_field == 8000 and .eff_lr_decay_iters == 8000'
json '.comm_overlap == "CommOverlapConfig" and (.ddp_check_for_nan_in_grad | not) and .test_data_path == ["h"]'
expect 0 recipe show $fine --json --set peft=DoRA packed_sequence=False finetune_lr=2e-4 min_lr=0 lr_warmup_iters=3 \
    lr_decay_iters=None wandb_project=a wandb_entity=b wandb_exp_name=c pretrained_checkpoint=/d dataset_path=/e
json '.mode == "dora" and .lr == 2e-4 and .wandb_exp_name == "c" and .dataset_path == "/e"'
expect 0 recipe show $pre --json --set optimizer.adam_eps=1e-8 model.num_layers=4 rng.seed=7 ddp.bucket_size=1000
json '.adam_eps == 1e-8 and .num_layers == 4 and .rng_seed == 7 and .ddp_bucket_size == 1000'

# ---- yaml ----
expect 0 recipe show $fine --format yaml
says '_target_: megatron.bridge.training.config.ConfigContainer'
says '  tensor_model_parallel_size: 1'
says '  _target_: megatron.bridge.peft.lora.LoRA'
says '  target_modules: ["linear_qkv", "linear_proj", "linear_fc1", "linear_fc2"]'
says '  layernorm_epsilon: 1.0e-06'
! grep -Eq '^  (output_layer_)?init_method:' "$out" || fail "an initialiser is in the file"
expect 0 recipe show $pre --format yaml --set name=yes 'dir=/a: b' tokenizer_model=null
says '  save: "/a: b/yes/checkpoints"'
says '  tokenizer_model: null'
expect 0 recipe show $pre --format json
json '.recipe == "qwen3_8b_pretrain_config"'
expect 2 recipe show $pre --json --format yaml
complains '--json and --format yaml contradict'

# ---- diff ----
expect 1 recipe diff $pre qwen3_14b_pretrain_config
grep -Eq '^num_layers +36 +40$' "$out" || fail "num_layers is no difference"
complains 'value(s) differ'
expect 1 recipe diff $fine:lora $fine:dora --json
json '[.differences[] | [.key, .a, .b]] | contains([["peft_alpha", 32, 64]])'
json '[.differences[] | select(.key == "peft_lora_dtype")] == [{"key": "peft_lora_dtype", "a": null}]'
expect 0 recipe diff $fine qwen3_8b_peft_config
expect 1 recipe diff $fine:sft $fine:lora
grep -Eq '^tp +2 +1$' "$out" || fail "tp is no difference"

# ---- check ----
expect 0 recipe check qwen3_235b_a22b_pretrain_config
says '512 GPUs = tp 2 × pp 8 × cp 1 × dp 32 = etp 1 × ep 32 × pp 8 × expert-dp 2'
expect 0 recipe check small.recipe
expect 0 recipe check ./small.recipe --json
json '.contradictions == []'
expect 5 recipe check qwen3_235b_a22b_pretrain_config --world-size 64
says 'world 64 is not etp 1 × ep 32 × pp 8 × expert-dp; the least that is: 256'
complains '1 contradiction(s)'
expect 5 recipe check $pre --set tp=3 pp=5 --json
json '.contradictions | length >= 4'

# ---- keys ----
expect 0 recipe keys
says 'tensor-parallel size; divides the attention heads'
expect 0 recipe keys recompute
says 'one of full|selective, or null; default null'
says 'enable_recompute=true'
expect 0 recipe keys --json
json '.keys | length > 170'
json 'all(.keys[]; .type != "" and .help != "" and .key != "")'
json '.keys[] | select(.key == "tp") | .type == "integer from 1 to 1048576" and .default == "1"'
json '[.keys[] | select(.config == "model.tensor_model_parallel_size")][0].key == "tp"'
expect 11 recipe keys nothing_like_it
complains "no key has 'nothing_like_it' in its name"
# Every default is a value of its key: a recipe that gives all of them is read.
expect 0 recipe keys --json
jq -r '.keys[] | select(.default != null and .computed == false and .key != "mode") | "\(.key) = \(.default)"' "$out" >defaults.recipe
expect 0 recipe show $pre --recipe-file defaults.recipe --json --set lr=1e-3

# ---- refusals: the text is read ----
# refuse FILE-TEXT MESSAGE: a recipe file of that text, line 2, is refused with file and line.
refuse() {
    printf 'recipe = %s\n%s\n' $pre "$1" >bad.recipe
    expect 5 recipe show --recipe-file bad.recipe
    complains "bridge: bad.recipe:2: $2"
    mute
}
refuse 'tpp = 2' "there is no key 'tpp'; did you mean 'tp'"

refuse 'tp = two' "tp: got 'two', expected integer from 1 to 1048576"
refuse 'tp = 0' "tp: got '0', expected integer from 1 to 1048576"
refuse 'tp = 2.5' "tp: got '2.5', expected integer"
refuse 'tp = null' "tp: got 'null', expected integer"
refuse 'lr = 2' "lr: got '2', expected number from 0.0 to 1.0"
refuse 'lr = fast' "lr: got 'fast', expected number"
refuse 'bf16 = 1' "bf16: got '1', expected true or false"
refuse 'optimizer = lion' "optimizer: got 'lion', expected one of adam|sgd"
refuse 'pipeline_dtype = int8' "pipeline_dtype: got 'int8', expected one of torch.float32|torch.bfloat16|torch.float16, or null"
refuse 'manual_gc_eval = maybe' "manual_gc_eval: got 'maybe', expected true, false or integer"
refuse 'dataset_kwargs = 7' "dataset_kwargs: got '7', expected object"
refuse 'recompute_modules = [[1]]' "recompute_modules: got '[[1]]', expected list"
refuse 'eff_etp = 1' 'eff_etp is computed'
refuse 'tp' "'tp' is not key=value"
refuse '= 3' "'= 3' is not key=value"
refuse 'tp =' 'tp has no value'
refuse 'name = "abc' 'name: the quoted text does not end on its line'
refuse 'name = "a\qb"' 'name: the quoted text has a bad escape or character'
refuse 'name = "a"b' "name: a blank must follow the value, got 'b'"
refuse 'data_paths = ["a"' "data_paths: the bracket '[' is not closed on its line"
refuse 'lr = $seq_length' "lr: '\$seq_length' is no key of the same type"
refuse 'lr = $nothing' "lr: '\$nothing' is no key of the same type"
refuse 'enable_recompute = some' "enable_recompute: got 'some', expected one of true, false"
refuse 'peft = qlora' "peft: got 'qlora', expected one of none, null, lora, dora"
refuse 'peft = lora' "recipe 'qwen3_8b_pretrain_config' is for pretraining: its mode cannot be lora"
refuse 'refuse = "x"' "there is no key 'refuse'"
refuse 'dataset_seq_length = 2048' 'dataset_seq_length 2048 is not seq_length 4096'
refuse 'global_batch_size = 33' 'global_batch_size 33 is not micro_batch_size 2 × dp 8 × a whole number'
refuse 'gpus = 15' 'world 15 is not tp 2 × pp 1 × cp 1 × dp; the least that is: 2'

# contradicts NAME MESSAGE SETTING...: settings that do not fit each other; check lists them all, show names the first.
contradicts() {
    local name=$1 message=$2 first
    shift 2
    expect 5 recipe check "$name" --set "$@"
    says "$message"
    first=$(head -n 1 "$out")
    expect 5 recipe show "$name" --set "$@"
    complains "bridge: $first"
}
moe=qwen3_30b_a3b_pretrain_config next=qwen3_next_80b_a3b_pretrain_config
contradicts $pre 'world 32 is not tp 4 × pp 3 × cp 1 × dp; the least that is: 12' tp=4 pp=3 gpus=32
contradicts $pre '--set: num_attention_heads 32 is not tp 3 × a whole number' tp=3
contradicts $pre '--set: num_query_groups 8 is neither a multiple nor a divisor of tp 12' tp=12 num_attention_heads=24
contradicts $pre '--set: num_attention_heads 32 is not num_query_groups 6 × a whole number' num_query_groups=6
contradicts $pre 'ffn_hidden_size 12288 is not tp 11' tp=11
contradicts $pre '--set: num_layers 36 is not pp 5 × vpp 1 × layers of a stage' pp=5
contradicts qwen3_235b_a22b_pretrain_config 'num_layers 94 + embedding 1 + loss 1 is not pp 5 × vpp 1' pp=5
contradicts $pre '--set: vpp 2 needs pp > 1, got pp 1' vpp=2
contradicts $pre "--set: layout 'Et|tL' has 2 decoder layers (t), the model 36" pp=2 pp_layout='Et|tL'
contradicts $pre '--set: num_layers 36 - first stage 5 - last stage 0 = 31 is not 3 stages between' pp=4 num_layers_in_first_pipeline_stage=5
contradicts $pre 'vpp 3 needs pp 4 ≤ microbatch_group_size_per_vp_stage 4 ≤ micro batches 2' pp=4 vpp=3 gpus=64
contradicts $pre '--set: micro batches 10 % microbatch_group_size_per_vp_stage 8 = 2, and vpp 3 needs 0 or at least pp 4' \
    pp=4 vpp=3 tp=1 gpus=4 gbs=20 microbatch_group_size_per_vp_stage=8
expect 0 recipe check $pre --set pp=4 tp=1 gpus=4 pp_layout='E(t*9|)*3t*9L'
expect 0 recipe check $pre --set pp=2 tp=1 gpus=8 num_layers_in_last_pipeline_stage=10
contradicts $pre '--set: ep 2 needs experts, but num_moe_experts is null' ep=2
contradicts $moe 'num_moe_experts 128 is not ep 7 × a whole number' ep=7
contradicts $moe '--set: moe_router_topk 129 is more than num_moe_experts 128' moe_router_topk=129
contradicts $moe 'tp 2 with experts needs sequence_parallel=true to train' tp=2
contradicts $moe 'moe_ffn_hidden_size 768 is not etp 5 × a whole number' etp=5
contradicts $moe 'world 8 is not etp 1 × ep 16 × pp 1 × expert-dp; the least that is: 16' ep=16
contradicts $next 'moe_shared_expert_intermediate_size 512 is not tp 3 × a whole number' tp=3
contradicts $next 'linear_num_key_heads 16 is not tp 32 × a whole number' tp=32
contradicts $pre '--set: sequence_parallel=true needs tp > 1, got tp 1' tp=1 sequence_parallel=true
contradicts $pre '--set: seq_length 4095 / cp 1 is not tp 2 × a whole number' seq_length=4095 sp=true
contradicts $pre '--set: seq_length 4098 is not 2 × cp 2 × a whole number' seq_length=4098 cp=2
contradicts $fine '--set: packed_sequence=true needs micro_batch_size 1, got 2' packed_sequence=true mbs=2 gbs=16
contradicts $pre 'recompute_granularity=full needs recompute_method and recompute_num_layers' recompute_granularity=full
contradicts $pre 'recompute_method and recompute_num_layers need recompute_granularity=full' recompute_method=uniform
contradicts $pre 'recompute_modules needs recompute_granularity=selective' recompute_modules=mlp
contradicts $pre 'lr_warmup_iters 500 is not less than the 100 steps of the decay' train_iters=100
contradicts $pre '--set: min_lr 0.1 is more than lr 0.0003' min_lr=0.1
contradicts $pre 'end_weight_decay 0.01 is less than start_weight_decay 0.033' end_weight_decay=0.01
contradicts $pre 'weight_decay_incr_style=constant needs end_weight_decay 0.1 to be start_weight_decay 0.033' end_weight_decay=0.1
contradicts $pre '--set: peft_dim is set, but mode pretrain trains no adapter' peft_dim=8
contradicts $fine '--set: peft_class DoRA is not what mode lora trains' peft_class=DoRA
contradicts $fine '--set: peft_dim 6 is not tp 4 × a whole number' peft_dim=6 tp=4
contradicts $pre 'NullTokenizer needs tokenizer_vocab_size' tokenizer_type=NullTokenizer
contradicts $pre 'tokenizer_vocab_size 200000 is more than vocab_size 151936' tokenizer_vocab_size=200000

expect 5 recipe show $fine --mode pretrain
complains "--mode: recipe '$fine' is for finetuning: its mode cannot be pretrain"
expect 5 recipe show $pre --peft lora
complains "--peft: recipe '$pre' is for pretraining: its mode cannot be lora"
expect 2 recipe show $fine --mode lora --peft none
complains 'mode lora and --peft none contradict'
expect 2 recipe diff $fine:sft $fine:lora --peft dora
complains 'mode sft and --peft dora contradict'
expect 0 recipe show $fine --mode sft --peft None --json
expect 5 recipe show $pre --peft qlora
complains "--peft: peft: got 'qlora', expected one of none, null, lora, dora"
expect 5 recipe show $pre --set dataset_seq_length='$seq_length' seq_length='$dataset_seq_length'
complains 'its references go in a circle'
expect 5 recipe show $pre --set tpp=2
complains "--set: there is no key 'tpp'; did you mean 'tp'; see"
expect 2 recipe show $pre --set tp
expect 11 recipe show qwen3_8b_pretrain
complains "there is no recipe 'qwen3_8b_pretrain'; did you mean 'qwen3_8b_pretrain_config'"
expect 11 recipe show xyzzy
complains "there is no recipe 'xyzzy'; see: bridge recipe list"
expect 11 recipe show qwen3.8b # a base is no recipe
expect 2 recipe show
complains 'recipe show needs the name of a recipe, or --recipe-file'
expect 11 recipe show --recipe-file ./none.recipe
complains './none.recipe'
echo 'tp = 2' >nameless.recipe
expect 5 recipe show --recipe-file nameless.recipe
complains "'nameless.recipe' does not say which recipe it changes; add a line \"recipe = NAME\""
expect 5 recipe show $fine --recipe-file small.recipe
complains "small.recipe:2: recipe = $pre, but '$fine' was asked for"
expect 2 recipe check ./small.recipe --recipe-file small.recipe
complains 'two recipe files'
printf 'recipe = %s\0' $pre >nul.recipe
expect 4 recipe show --recipe-file nul.recipe
complains "'nul.recipe' is not a recipe file: it holds a NUL byte"
head -c 2000000 /dev/zero | tr '\0' '#' >huge.recipe
expect 4 recipe show --recipe-file huge.recipe
expect 2 recipe show $pre --world-size 9223372036854775807
complains "expected a whole number from 1 to 1048576"
done_ok
