/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* commands.c - every command of bridge: what it is called, what runs it, what help says.
 *
 * The help pages and the manual page are printed from this table and options.def, so a text
 * that is wrong here is wrong everywhere.  Lines of `about` are at most 90 characters; an empty
 * line separates paragraphs. */
#include "cli.h"

/* clang-format off */
const struct br__command br__commands[BR__N_CMD] = {

[BR__CMD_HELP] = {
    .name = "help", .args = "[COMMAND|TOPIC]", .max_pos = 2,
    .summary = "explain a command or a topic",
    .about =
        "Topics: exit-codes, environment.  With --man the whole manual page, as roff.\n",
    .examples =
        "bridge help import\n"
        "bridge help exit-codes\n"
        "bridge help --man | man -l -\n",
},

[BR__CMD_IMPORT] = {
    .name = "import", .args = "[MODEL]",
    .summary = "Hugging Face safetensors -> Megatron torch_dist",
    .about =
        "Reads the model's config.json and weights, checks that every tensor is known, used once and\n"
        "has the right shape, and writes a Megatron checkpoint that Megatron Bridge and Megatron-LM\n"
        "load at any tensor, pipeline or expert parallel size.\n"
        "\n"
        "Without --megatron-path it writes to ./NAME-megatron.  The result appears under its name only\n"
        "when it is complete; an interrupted import is resumed by running the same command again.  A\n"
        "destination that already holds this conversion is left alone (\"up to date\").\n"
        "\n"
        "The vocabulary is not padded unless --pad-vocab-to asks for it.\n",
    .examples =
        "bridge import Qwen/Qwen3-8B\n"
        "bridge import --hf-model ./Qwen3-30B-A3B --megatron-path /checkpoints/qwen3_30b_a3b\n"
        "bridge --hf-model ./Qwen3-8B import --torch-dtype float32 --dry-run\n",
    .pos_opt = {BR__OPT_HF_MODEL}, .need = {BR__OPT_HF_MODEL},
},

[BR__CMD_EXPORT] = {
    .name = "export", .args = "[MEGATRON_DIR]",
    .summary = "Megatron torch_dist -> Hugging Face safetensors",
    .about =
        "Reads a Megatron checkpoint of any parallel layout, also one of a training run (optimizer,\n"
        "scheduler and random states are left out, and named), and writes a directory that\n"
        "transformers loads.\n"
        "\n"
        "Without --hf-path it writes to ./NAME-hf.  With --hf-model, config.json, tokenizer and the\n"
        "shards are those of that model; without, they come from what bridge's import stored in the\n"
        "checkpoint, or else config.json is rebuilt and each guess is named.\n",
    .examples =
        "bridge export ./Qwen3-8B-megatron\n"
        "bridge export --hf-model Qwen/Qwen3-8B --megatron-path ./Qwen3-8B-megatron --hf-path ./out\n"
        "bridge export ./run/iter_0004000 --hf-path ./out --max-shard-size 2GB\n",
    .pos_opt = {BR__OPT_MEGATRON_PATH, BR__OPT_HF_PATH}, .need = {BR__OPT_MEGATRON_PATH},
},

[BR__CMD_VERIFY] = {
    .name = "verify", .args = "[MODEL] [MEGATRON_DIR]",
    .summary = "prove that a Hugging Face model and a Megatron checkpoint are the same, or one undamaged",
    .about =
        "Compares names, dtypes, shapes and every byte of the two, in the layout that a conversion\n"
        "gives.  Prints each difference; exit status 0 only if there is none.  Give it the options\n"
        "that import was given, such as --torch-dtype.\n"
        "\n"
        "With one directory of either kind it checks that one: headers, that chunks tile every tensor,\n"
        "the CRC-32 of each record, and the digests of bridge_manifest.json if there is one.  Each\n"
        "damaged tensor is named, and the exit status is 4.\n",
    .examples =
        "bridge verify --hf-model Qwen/Qwen3-8B --megatron-path ./Qwen3-8B-megatron\n"
        "bridge verify ./Qwen3-8B ./Qwen3-8B-megatron\n"
        "bridge verify ./Qwen3-8B-megatron\n",
    .pos_opt = {BR__OPT_HF_MODEL, BR__OPT_MEGATRON_PATH},
},

[BR__CMD_ROUNDTRIP] = {
    .name = "roundtrip", .args = "[MODEL]",
    .summary = "import, verify, export, and compare with the source",
    .about =
        "Works in a temporary directory under $TMPDIR and removes it, or keeps both results under\n"
        "--output-dir, as megatron/ and hf/.  A source of FP8 weights, or one that --torch-dtype\n"
        "casts, is compared by its converted values.\n",
    .examples =
        "bridge roundtrip ./Qwen3-8B\n"
        "bridge roundtrip --hf-model Qwen/Qwen3-8B --output-dir ./both\n",
    .pos_opt = {BR__OPT_HF_MODEL}, .need = {BR__OPT_HF_MODEL},
},

[BR__CMD_PLAN_IMPORT] = {
    .name = "plan import", .args = "[MODEL]",
    .summary = "what an import would do, tensor by tensor",
    .about =
        "Makes every check of an import from the headers alone and prints, for each tensor that it\n"
        "would write, the rule, inputs, shape, dtype, bytes and exactness, then the totals.\n"
        "\n"
        "With --config it needs no weights at all: the headers are invented from that config.json.\n",
    .examples =
        "bridge plan import Qwen/Qwen3-8B\n"
        "bridge plan import --config ./Qwen3-235B-A22B/config.json --json\n",
    .pos_opt = {BR__OPT_HF_MODEL},
},

[BR__CMD_PLAN_EXPORT] = {
    .name = "plan export", .args = "[MEGATRON_DIR]",
    .summary = "what an export would do, tensor by tensor",
    .about =
        "Makes every check of an export from the checkpoint's metadata alone and prints, for each\n"
        "tensor that it would write, the rule, inputs, shape, dtype, bytes and exactness, then the\n"
        "totals.\n",
    .examples =
        "bridge plan export ./Qwen3-8B-megatron --hf-model Qwen/Qwen3-8B\n",
    .pos_opt = {BR__OPT_MEGATRON_PATH, BR__OPT_HF_PATH}, .need = {BR__OPT_MEGATRON_PATH},
},

[BR__CMD_INSPECT] = {
    .name = "inspect", .args = "DIR", .min_pos = 1, .max_pos = 1,
    .summary = "list the tensors of a checkpoint of either format",
    .about =
        "One row per tensor: dtype, shape, bytes and, with --hash, the sha256 of its contiguous\n"
        "little-endian bytes, whatever the chunking on disk.  For a training checkpoint it also says\n"
        "what the run left: iteration, consumed samples, optimizer, sharding; and it warns where a\n"
        "stored main parameter does not round to the weight (a defect of some Megatron versions; the\n"
        "weights are right).  That check reads the ends of each tensor; with --hash, all of it.\n",
    .examples =
        "bridge inspect ./Qwen3-8B-megatron\n"
        "bridge inspect ./Qwen3-8B --json --hash\n",
},

[BR__CMD_DIFF] = {
    .name = "diff", .args = "A B", .min_pos = 2, .max_pos = 2,
    .summary = "compare two checkpoints of the same format, tensor by tensor",
    .about =
        "Prints what only one of them has and where dtype, shape or bytes differ; exit status 0 only\n"
        "if nothing does.  How the tensors are cut into chunks or files does not matter.  To compare a\n"
        "Hugging Face model with a Megatron checkpoint, use verify.\n",
    .examples =
        "bridge diff ./run-a ./run-b\n"
        "bridge diff ./Qwen3-8B ./Qwen3-8B-exported\n",
},

[BR__CMD_REPAIR] = {
    .name = "repair", .args = "DIR", .min_pos = 1, .max_pos = 1,
    .summary = "write a training checkpoint again with sound optimizer state",
    .about =
        "Two things that stop a run from going on elsewhere are put right.  A checkpoint of the form\n"
        "dp_reshardable, which Megatron loads on the same tensor and pipeline sizes only, becomes\n"
        "fully_reshardable.  Optimizer tensors that Megatron stored shifted (several padded gradient\n"
        "buckets) are shifted back; the few elements that were never stored are counted: main\n"
        "parameters become those of the weights, moments 0.\n"
        "\n"
        "Weights, random states, scheduler and counters stay as they are.  Writes nothing if nothing\n"
        "is wrong.\n",
    .examples =
        "bridge repair ./run/checkpoints -o ./run/checkpoints-repaired\n"
        "bridge repair ./run/checkpoints/iter_0004000 -o ./repaired --json\n",
    .need = {BR__OPT_OUTPUT_DIR},
},

[BR__CMD_DOWNLOAD] = {
    .name = "download", .args = "[MODEL] [FILE...]", .max_pos = UINT8_MAX,
    .summary = "bring a model of the Hugging Face hub to the local cache",
    .about =
        "Files arrive in parallel ranges, an interrupted download goes on where it was, and a file gets\n"
        "its name only when its sha256 (or git blob id) is the hub's.  The cache is the one of\n"
        "huggingface_hub; both tools share what either downloads.  Prints the directory.  FILEs are\n"
        "paths in the repository; without any, all files come, or those that --include matches.\n"
        "\n"
        "Commands that take --hf-model ID download what they need by themselves; plan, inspect and\n"
        "export read no weights, and import --stream stores none.\n",
    .examples =
        "bridge download Qwen/Qwen3-8B\n"
        "bridge download Qwen/Qwen3-8B config.json tokenizer.json\n"
        "bridge download Qwen/Qwen3-8B --dry-run\n"
        "bridge download Qwen/Qwen3-8B@main --include '*.json' --include '*.txt' --local-dir ./Qwen3-8B\n",
    .pos_opt = {BR__OPT_HF_MODEL}, .need = {BR__OPT_HF_MODEL},
},

[BR__CMD_UPLOAD] = {
    .name = "upload", .args = "DIR REPO", .min_pos = 2, .max_pos = 2,
    .summary = "commit the files of a directory to a repository of the Hugging Face hub",
    .about =
        "Large files go first, several at a time, by Git LFS; then REPO (ORG/NAME[@BRANCH]) gets all\n"
        "files in one commit, or none of them.  What the hub has is not sent: after an interruption the\n"
        "same command goes on with the files that are missing.  Files of the branch that DIR lacks\n"
        "stay.  Left out are .git, what .gitignore names, and links to directories.  Prints the commit.\n",
    .examples =
        "bridge upload ./Qwen3-8B-tuned my-org/Qwen3-8B-tuned --create --private\n"
        "bridge upload ./Qwen3-8B-tuned my-org/Qwen3-8B-tuned@candidate -m 'step 4000' --dry-run\n"
        "bridge upload ./Qwen3-8B-tuned my-org/Qwen3-8B-tuned --include '*.safetensors' --exclude 'logs/'\n",
},

[BR__CMD_CACHE_LS] = {
    .name = "cache ls", .args = "",
    .summary = "list what the cache of hub models holds",
    .about =
        "The cache is the one of huggingface_hub: models, datasets and spaces, their size on disk,\n"
        "branches and tags that were downloaded, and when a file was last used.  A revision is\n"
        "detached when its branch has moved on.\n",
    .examples =
        "bridge cache ls\n"
        "bridge cache ls --json\n",
},

[BR__CMD_CACHE_RM] = {
    .name = "cache rm", .args = "ID[@REVISION]", .min_pos = 1, .max_pos = 1,
    .summary = "remove a model, or one revision of it, from the cache",
    .about =
        "Of a revision the files go that no other one has.  What another process downloads at that\n"
        "moment is not touched.\n",
    .examples =
        "bridge cache rm Qwen/Qwen3-8B\n"
        "bridge cache rm Qwen/Qwen3-8B@main\n",
},

[BR__CMD_CACHE_VERIFY] = {
    .name = "cache verify", .args = "[ID]", .max_pos = 1,
    .summary = "compare files of the cache with the digests that are their names",
    .about =
        "Reads every file: sha256 of large ones, git's blob id of the others.  Each damaged one is\n"
        "named, and the exit status is 4.\n",
    .examples =
        "bridge cache verify\n"
        "bridge cache verify Qwen/Qwen3-8B\n",
},

[BR__CMD_CACHE_PRUNE] = {
    .name = "cache prune", .args = "",
    .summary = "remove interrupted downloads and revisions that no branch names",
    .about =
        "What another process downloads at that moment is not touched.\n",
    .examples =
        "bridge cache prune\n",
},

[BR__CMD_CLEAN] = {
    .name = "clean", .args = "DIR|ID", .min_pos = 1, .max_pos = 1,
    .summary = "remove what an interrupted import, export or download left to go on with",
    .about =
        "DIR is the destination that was given to the run, ID the model that was downloaded.  Results\n"
        "that are complete are not touched, nor what a running process writes.\n",
    .examples =
        "bridge clean ./Qwen3-8B-megatron\n"
        "bridge clean Qwen/Qwen3-8B\n",
},

[BR__CMD_TOY] = {
    .name = "toy", .args = "[NAME]",
    .summary = "write a small made-up model of any architecture",
    .about =
        "The configuration is the architecture's own smallest sensible one, changed by --set with\n"
        "config.json's own keys.  The same options give the same bytes on every machine.\n",
    .examples =
        "bridge toy --arch qwen3_moe --output-dir ./toy\n"
        "bridge toy qwen3 -o ./toy --set num_hidden_layers=4 tie_word_embeddings=true --dtype float32\n",
    .pos_opt = {BR__OPT_ARCH}, .need = {BR__OPT_ARCH, BR__OPT_OUTPUT_DIR},
},

[BR__CMD_LIST] = {
    .name = "list", .args = "[architectures]", .max_pos = 1,
    .summary = "list the architectures that can be converted",
    .about =
        "One row per architecture of every plugin found.\n",
    .examples =
        "bridge list architectures\n",
},

[BR__CMD_PLUGIN_LIST] = {
    .name = "plugin list", .args = "",
    .summary = "list the plugins found, and the files that were refused",
    .about =
        "Plugins are searched in the directories of BRIDGE_PLUGIN_PATH, then $XDG_DATA_HOME/bridge/1,\n"
        "then the library's own directory; those that are compiled in come last.\n",
    .examples =
        "bridge plugin list\n",
},

[BR__CMD_PLUGIN_SHOW] = {
    .name = "plugin show", .args = "NAME|FILE", .min_pos = 1, .max_pos = 1,
    .summary = "print the tables of a plugin",
    .about =
        "Architectures, config fields, weight rules, ignored names and recipes.\n",
    .examples =
        "bridge plugin show qwen3_moe\n",
},

[BR__CMD_PLUGIN_CHECK] = {
    .name = "plugin check", .args = "NAME|FILE", .min_pos = 1, .max_pos = 1,
    .summary = "prove that a plugin is sound",
    .about =
        "Loads it, reads every row, expands its rules for its toy configuration (no two may claim the\n"
        "same name or the same rows), and converts a toy model there and back, bit for bit.  If it has a\n"
        "layer builder the toy is run: forward and backward, through caches, on two ranks.\n",
    .examples =
        "bridge plugin check qwen3_next\n"
        "bridge plugin check ./build/bridge_llama.so\n",
},

[BR__CMD_RECIPE_LIST] = {
    .name = "recipe list", .args = "",
    .summary = "list the training recipes",
    .about =
        "One row per recipe and mode: parallel sizes, GPUs, sequence length, global batch size, peak\n"
        "learning rate.  A finetune recipe has up to three modes: sft (every weight), lora, dora.\n",
    .examples =
        "bridge recipe list\n"
        "bridge recipe list --model qwen3_8b --mode lora\n"
        "bridge recipe list --gpus 8 --json\n",
},

[BR__CMD_RECIPE_SHOW] = {
    .name = "recipe show", .args = "[NAME]", .max_pos = 1,
    .summary = "print every value of a recipe",
    .about =
        "As text it is a recipe file: edit it and give it back with --recipe-file.  As YAML it is the\n"
        "configuration file that Megatron Bridge loads.  Values are checked before they are shown.\n"
        "\n"
        "Names are those of Megatron Bridge's model page; its newer ones (..._sft_config,\n"
        "..._peft_8gpu_h100_bf16_config) are understood too, with the page's values.\n",
    .examples =
        "bridge recipe show qwen3_8b_pretrain_config\n"
        "bridge recipe show qwen3_8b_finetune_config --peft dora --set train_iters=1000 lr=2e-4\n"
        "bridge recipe show qwen3_30b_a3b_pretrain_config --provenance\n"
        "bridge recipe show qwen3_8b_pretrain_config > my.recipe\n"
        "bridge recipe show --recipe-file my.recipe --format yaml > config.yaml\n",
},

[BR__CMD_RECIPE_DIFF] = {
    .name = "recipe diff", .args = "A B", .min_pos = 2, .max_pos = 2,
    .summary = "compare two recipes, value by value",
    .about =
        "A and B are names, names with a mode (NAME:dora), or recipe files.  Other options apply to\n"
        "both.  Exit status 0 only if nothing differs.\n",
    .examples =
        "bridge recipe diff qwen3_8b_pretrain_config qwen3_14b_pretrain_config\n"
        "bridge recipe diff qwen3_8b_finetune_config:sft qwen3_8b_finetune_config:lora\n",
},

[BR__CMD_RECIPE_CHECK] = {
    .name = "recipe check", .args = "[NAME|FILE]", .max_pos = 1,
    .summary = "find what contradicts in a recipe, before a cluster does",
    .about =
        "Types, ranges, the two grids of processes, heads, layers, experts, batch and schedule, by\n"
        "Megatron's own rules.  Each contradiction is printed with its equation.\n",
    .examples =
        "bridge recipe check qwen3_235b_a22b_pretrain_config --world-size 256\n"
        "bridge recipe check my.recipe\n",
},

[BR__CMD_RECIPE_KEYS] = {
    .name = "recipe keys", .args = "[WORD]", .max_pos = 1,
    .summary = "explain the keys of recipes",
    .about =
        "Every key with its type, range, default and meaning; with WORD those whose name, other\n"
        "spellings or path in Megatron Bridge's configuration contain it.\n",
    .examples =
        "bridge recipe keys\n"
        "bridge recipe keys recompute\n",
},

[BR__CMD_RECIPE_MEMORY] = {
    .name = "recipe memory", .args = "[NAME|FILE]", .max_pos = 1,
    .summary = "estimate memory per GPU and time per step of a recipe",
    .about =
        "Weights, gradients, optimizer and activations on the fullest rank by Megatron-LM's own\n"
        "formulas (theoretical_memory_usage.py, num_floating_point_operations), and whether they fit.\n"
        "Workspaces, communication buffers and fragmentation come on top: leave some room.\n",
    .examples =
        "bridge recipe memory qwen3_8b_pretrain_config\n"
        "bridge recipe memory qwen3_30b_a3b_finetune_config --peft none --gpu-mem 141\n",
},

[BR__CMD_RECIPE_SIMULATE] = {
    .name = "recipe simulate", .args = "[NAME|FILE]", .max_pos = 1,
    .summary = "one training step without the GPUs: timeline, bubble, bytes, memory, time",
    .about =
        "Plays the pipeline schedule that training runs, with times by the rates of a GPU and a\n"
        "network: how long a step takes, what it waits for, what each rank holds and sends.  The rates\n"
        "are printed; they are assumptions, and the result is as good as they are.\n",
    .examples =
        "bridge recipe simulate qwen3_235b_a22b_pretrain_config --rank 511\n"
        "bridge recipe simulate qwen3_235b_a22b_pretrain_config --gpu h200 --html step.html --set vpp=2\n",
},

[BR__CMD_PLUGIN_NEW] = {
    .name = "plugin new", .args = "NAME", .min_pos = 1, .max_pos = 1,
    .summary = "write a new plugin that builds and passes its checks",
    .about =
        "Makes a folder with NAME.c, a CMakeLists.txt and a test, for a family whose model_type is\n"
        "NAME and whose tables are those of another plugin: change the rows that differ.  It needs\n"
        "an installed bridge and nothing of its source.  docs/plugins.md goes through it.\n",
    .examples =
        "bridge plugin new olmo3\n"
        "bridge plugin new mymoe --from qwen3_moe -o ./plugins/mymoe\n",
},

[BR__CMD_DOCTOR] = {
    .name = "doctor", .args = "",
    .summary = "what this machine has: processor, plugins, GPU, folders, libraries",
    .about =
        "Prints what bridge finds and, where it finds nothing, why: the processor and the kernels\n"
        "chosen for it, plugins found and refused, the GPU backend, the folders of downloads and\n"
        "temporary files, and the versions of the libraries in use (with -v every file loaded).\n",
    .examples =
        "bridge doctor\n"
        "bridge doctor --json\n",
},

[BR__CMD_LAUNCH] = {
    .name = "launch", .args = "-n N [--mpi mpich|openmpi] [--slurm FILE [--nodes K]] --check|COMMAND...",
    .summary = "start the ranks of a command as processes of an MPI",
    .about =
        "Executes the mpirun of an MPI that is installed, of MPICH or of Open MPI, with N processes of\n"
        "bridge; to start them with mpirun, or with Slurm's srun, is the same.  --check has them add\n"
        "numbers, and says whether they can.  import, export and verify share the work, logits, score\n"
        "and generate have a rank of --tp, --pp and --ep in each process.  Other commands run in one\n"
        "process: they refuse to be started so.\n"
        "\n"
        "--slurm writes the batch script of the command in place of running it; of `train RECIPE` it\n"
        "has as many ranks as the recipe, without -n.  Eight ranks go to a node, unless --nodes says\n"
        "otherwise.  The script saves before the time is over, and goes on from there.\n",
    .examples =
        "bridge launch -n 4 --check\n"
        "bridge launch -n 4 import ./Qwen3-8B\n"
        "bridge launch --slurm job.sh train qwen3_8b_pretrain_config\n"
        "bridge launch -n 2 --mpi openmpi generate ./Qwen3-8B --tp 2 --prompt 'The capital of France is'\n",
},

[BR__CMD_COMPLETION] = {
    .name = "completion", .args = "bash|zsh|fish", .min_pos = 1, .max_pos = 1,
    .summary = "print the shell's completion of this program's commands and options",
    .about =
        "An installed bridge has all where the shells look for them.\n",
    .examples =
        "source <(bridge completion bash)\n"
        "bridge completion zsh >~/.zfunc/_bridge\n"
        "bridge completion fish >~/.config/fish/completions/bridge.fish\n",
},

[BR__CMD_CHAT_TEMPLATE] = {
    .name = "chat-template", .args = "[FILE]", .max_pos = 1,
    .summary = "conversations in JSON -> the text of prompts",
    .about =
        "Runs the chat template of a tokenizer directory: chat_template.jinja, else the one in\n"
        "tokenizer_config.json; with tools the one named tool_use, if there is one.  Of a model\n"
        "of the hub these small files are fetched.\n"
        "\n"
        "The input, FILE or standard input, is a JSON object\n"
        "{\"messages\": [...], \"tools\": [...], \"add_generation_prompt\": true, \"enable_thinking\": false}\n"
        "of which only the messages are needed, or the array of messages alone; the text is printed as\n"
        "it is.  \"documents\" and, with more variables for the template, \"chat_template_kwargs\" are\n"
        "read too, and \"continue_final_message\": true, or the name of the member to continue, such as\n"
        "\"reasoning_content\"; other members are ignored.\n"
        "\n"
        "With --assistant-mask an object {\"text\", \"ids\", \"assistant_mask\"} is printed: the mask has 1\n"
        "for each token of what the template marks by {% generation %}.\n"
        "\n"
        "With --jsonl every line of the input is such an object, and a line {\"text\": \"...\"} is printed\n"
        "for each.\n"
        "\n"
        "Templates are run by bridge itself, as Jinja2 in transformers would: in bounded time and memory,\n"
        "without access to anything.  A construct that it does not know is an error with its line.\n",
    .examples =
        "bridge chat-template --tokenizer ./Qwen3-8B --add-generation-prompt chat.json\n"
        "bridge chat-template --tokenizer ./Qwen3-8B --jsonl chats.jsonl\n"
        "bridge chat-template --tokenizer ./Qwen3-8B --continue-final-message half.json\n",
    .need = {BR__OPT_CHAT_TOKENIZER},
},

[BR__CMD_GENERATE] = {
    .name = "generate", .args = "[MODEL]",
    .summary = "continue a prompt",
    .about =
        "Runs a model straight from its Hugging Face directory, without a load phase, or from a\n"
        "Megatron checkpoint.  Greedy unless --temperature says otherwise, with --chat as\n"
        "generation_config.json recommends unless --greedy says otherwise; ends at any of the\n"
        "end-of-sequence ids of generation_config.json.  The text is printed as it comes; a closing\n"
        "line on stderr tells the rates, the time to the first token and the memory.\n"
        "\n"
        "With --chat and no --prompt on a terminal it is a conversation: one message a line, /help\n"
        "for its commands.  Ctrl-C stops an answer, at an empty prompt it leaves.\n"
        "--tp, --pp, --ep and --etp run that many ranks as threads, as Megatron would spread them.\n",
    .examples =
        "bridge generate Qwen/Qwen3-0.6B --prompt 'The capital of France is'\n"
        "bridge generate --megatron-path ./Qwen3-8B-megatron --prompt Hello --max-new-tokens 50\n"
        "bridge generate ./Qwen3-8B --chat --system 'Be brief.' --temperature 0.7 --top-p 0.8\n"
        "bridge generate ./Qwen3-8B --prompts-file prompts.txt --json\n",
    .pos_opt = {BR__OPT_HF_MODEL},
},

[BR__CMD_COMPARE] = {
    .name = "compare", .args = "[MODEL] [MEGATRON_DIR]",
    .summary = "run the same prompt through both formats of a model",
    .about =
        "Prints the next token and the five best of each, and how far the logits differ.  verify\n"
        "compares bytes and needs no prompt; this shows that the weights also mean the same.\n"
        "With --dtype float32, any difference is exit status 1.\n",
    .examples =
        "bridge compare --hf-model Qwen/Qwen3-8B --megatron-path ./Qwen3-8B-megatron --prompt Hello\n",
    .pos_opt = {BR__OPT_HF_MODEL, BR__OPT_MEGATRON_PATH},
    .need = {BR__OPT_HF_MODEL, BR__OPT_MEGATRON_PATH},
},

[BR__CMD_LOGITS] = {
    .name = "logits", .args = "[MODEL]",
    .summary = "write logits, hidden states, losses and gradients of given tokens",
    .about =
        "One pass over one sequence without caches.  Everything is float32, named as transformers\n"
        "would: logits [tokens, vocab], hidden.<i>, loss, grad.<parameter>.\n",
    .examples =
        "bridge logits ./Qwen3-0.6B --input-ids 1,2,3 --output out.safetensors --dtype float32\n"
        "bridge logits ./toy --input-ids ids.txt --grads --hidden-states -o out.safetensors\n",
    .pos_opt = {BR__OPT_HF_MODEL}, .need = {BR__OPT_INPUT_IDS, BR__OPT_OUTPUT_FILE},
},

[BR__CMD_SCORE] = {
    .name = "score", .args = "[MODEL]",
    .summary = "log-probabilities of a text, perplexity of a file",
    .about =
        "Each token is predicted from those before it; a text longer than 2048 tokens, or than the\n"
        "model's context, is cut into windows of that length, the first token of which is not counted.\n",
    .examples =
        "bridge score ./Qwen3-0.6B --prompt 'Paris is the capital of France.'\n"
        "bridge score ./Qwen3-0.6B --file book.txt --json\n",
    .pos_opt = {BR__OPT_HF_MODEL},
},

[BR__CMD_BENCH] = {
    .name = "bench", .args = "[MODEL]",
    .summary = "how fast a model runs here, and how fast it could",
    .about =
        "Medians of several runs: prefill of a prompt against the machine's matrix-product peak, and\n"
        "decoding against its streaming read rate over the bytes of weights that a step reads; both\n"
        "ceilings are measured between the runs.\n",
    .examples =
        "bridge bench ./Qwen3-0.6B\n"
        "bridge bench ./Qwen3-0.6B --batch 8 --json\n"
        "bridge bench ./shape-of-a-model --random --device cuda\n",
    .pos_opt = {BR__OPT_HF_MODEL},
},

[BR__CMD_TOKENIZE] = {
    .name = "tokenize", .args = "[FILE]", .max_pos = 1,
    .summary = "text -> token ids, and back",
    .about =
        "Reads FILE or standard input and prints the ids of its text, the same ids as those of Hugging\n"
        "Face's tokenizers.  With --decode it reads ids, separated by blanks or commas, and prints their\n"
        "text.\n"
        "\n"
        "With --jsonl every line of the input is a JSON object: {\"text\": \"...\"} becomes {\"ids\": [...]},\n"
        "and with --decode {\"ids\": [...]} becomes {\"text\": \"...\", \"text_skip_special\": \"...\"}.  Other\n"
        "members are ignored.  All threads work on the lines, which come out in their order.\n"
        "\n"
        "A tokenizer is a directory with tokenizer.json, or with vocab.json and merges.txt: BPE of bytes,\n"
        "as Qwen's, or of characters, as that of Llama 2.\n",
    .examples =
        "echo 'Hello, world' | bridge tokenize --tokenizer ./Qwen3-8B\n"
        "bridge tokenize --hf-model Qwen/Qwen3-8B --count book.txt\n"
        "bridge tokenize --tokenizer ./Qwen3-8B --jsonl corpus.jsonl > ids.jsonl\n",
},

[BR__CMD_DATA_BUILD] = {
    .name = "data build", .args = "FILE...", .min_pos = 1, .max_pos = UINT8_MAX,
    .summary = "texts -> token files for pretraining, Megatron's .bin and .idx",
    .about =
        "Tokenises every record of the files, in their order, and writes OUTPUT.bin and OUTPUT.idx, the\n"
        "files that Megatron's preprocess_data.py writes and its IndexedDataset reads.  By name, a file\n"
        "is JSONL (.jsonl, .nvjsonl, .json: one object a line), Parquet (.parquet) or else text, which\n"
        "is one document.  --json-keys says which members or columns hold the texts; with several, each\n"
        "gets files of its own, OUTPUT_KEY.bin.\n"
        "\n"
        "Documents without tokens are left out.  Ids are stored in two bytes if the vocabulary has fewer\n"
        "than 65,500 tokens.  Memory does not grow with the input, and the files appear when they are\n"
        "complete: an interrupted build leaves none.\n",
    .examples =
        "bridge data build corpus.jsonl --tokenizer Qwen/Qwen3-8B --append-eod -o corpus\n"
        "bridge data build *.jsonl --tokenizer ./Qwen3-8B --json-keys text,title -o ./tokens/all\n",
    .need = {BR__OPT_DATA_OUTPUT},
},

[BR__CMD_DATA_MERGE] = {
    .name = "data merge", .args = "NAME...", .min_pos = 1, .max_pos = UINT8_MAX,
    .summary = "several token files -> one, in their order",
    .about =
        "Each NAME stands for NAME.bin and NAME.idx.  All must hold ids of one type.\n",
    .examples =
        "bridge data merge part-0 part-1 part-2 -o all\n",
    .need = {BR__OPT_DATA_OUTPUT},
},

[BR__CMD_DATA_INSPECT] = {
    .name = "data inspect", .args = "NAME", .min_pos = 1, .max_pos = 1,
    .summary = "what token files hold",
    .about =
        "Checks NAME.idx and reads every id of NAME.bin; prints documents, sequences, tokens, the lengths\n"
        "and the largest id, which must be below the model's vocabulary size.\n",
    .examples =
        "bridge data inspect corpus\n"
        "bridge data inspect corpus.idx --json\n",
},

[BR__CMD_TRAIN] = {
    .name = "train", .args = "[RECIPE] [KEY=VALUE...]", .max_pos = UINT8_MAX,
    .summary = "train a model as a recipe says, on this machine",
    .about =
        "Carries a recipe out in one process: pretraining or full finetuning, with Megatron's data, order of\n"
        "numbers and schedule.  Settings follow the name: key=value, as bridge recipe keys explains them, or\n"
        "by the keyword arguments of Megatron Bridge's own functions (finetune_lr=1e-5).\n"
        "\n"
        "The plan is printed first; with --dry-run nothing else happens.  Then comes Megatron's line for\n"
        "every log_interval steps, whose learning rate is that of the next step, and in <dir>/<name>/log.jsonl\n"
        "an object for every step.  SIGINT and SIGTERM end the run after the step that is going on.\n"
        "\n"
        "Recipes that spread a model over several processes need --single-rank.  hf_model=ID|DIR takes the\n"
        "sizes and the tokenizer of another model; pretrained_checkpoint=DIR is what training begins from.\n",
    .examples =
        "bridge train qwen3_600m_finetune_config --peft none pretrained_checkpoint=./Qwen3-0.6B dataset_path=./data\n"
        "bridge train qwen3_8b_pretrain_config --single-rank data_paths=corpus dir=runs name=a --dry-run\n",
},

[BR__CMD_TRAIN_REPORT] = {
    .name = "train report", .args = "DIR", .min_pos = 1, .max_pos = 1,
    .summary = "the log of a training run as one page of curves",
    .about =
        "Reads DIR/log.jsonl, where DIR is the folder of a run, <dir>/<name>, and writes an HTML page: losses,\n"
        "gradient norm, learning rate, speed and memory as curves, and the configuration of the last\n"
        "checkpoint.  The page needs nothing from elsewhere.\n",
    .examples =
        "bridge train report nemo_experiments/default\n"
        "bridge train report runs/a -o a.html\n",
},

[BR__CMD_ADAPTER_EXPORT] = {
    .name = "adapter export", .args = "[MEGATRON_DIR] [PEFT_DIR]",
    .summary = "an adapters-only Megatron checkpoint -> an adapter as peft has it",
    .about =
        "Reads a checkpoint of a LoRA or DoRA run, of bridge or of Megatron Bridge, and writes\n"
        "adapter_config.json and adapter_model.safetensors.  Megatron has one adapter for q, k and v,\n"
        "and one for gate and up: each of these weights gets its own, with lora_A repeated.  DoRA's\n"
        "magnitudes become lora_magnitude_vector.\n"
        "\n"
        "Of --hf-model only config.json is read; its name becomes base_model_name_or_path.\n",
    .examples =
        "bridge adapter export ./run/checkpoints ./my-adapter --hf-model Qwen/Qwen3-0.6B\n",
    .pos_opt = {BR__OPT_MEGATRON_PATH, BR__OPT_PEFT_PATH},
    .need = {BR__OPT_HF_MODEL, BR__OPT_MEGATRON_PATH, BR__OPT_PEFT_PATH},
},

[BR__CMD_ADAPTER_IMPORT] = {
    .name = "adapter import", .args = "[PEFT_DIR] [MEGATRON_DIR]",
    .summary = "an adapter as peft has it -> an adapters-only Megatron checkpoint",
    .about =
        "Writes iteration 0 of a checkpoint that Megatron Bridge reads, without optimizer.  Megatron\n"
        "has one lora_A for q, k and v, and one for gate and up: an adapter in which they differ\n"
        "cannot be imported, but merged.\n",
    .examples =
        "bridge adapter import ./my-adapter ./my-adapter-megatron --hf-model Qwen/Qwen3-0.6B\n",
    .pos_opt = {BR__OPT_PEFT_PATH, BR__OPT_MEGATRON_PATH},
    .need = {BR__OPT_HF_MODEL, BR__OPT_PEFT_PATH, BR__OPT_MEGATRON_PATH},
},

[BR__CMD_ADAPTER_MERGE] = {
    .name = "adapter merge", .args = "[ADAPTER_DIR] [HF_DIR]",
    .summary = "a Hugging Face model with an adapter added to its weights",
    .about =
        "The adapter is peft's directory or a Megatron checkpoint of adapters.  The model keeps its\n"
        "files, dtypes and all weights that the adapter does not change; the others are computed in\n"
        "float32 or wider and rounded once.\n",
    .examples =
        "bridge adapter merge ./my-adapter ./merged --hf-model Qwen/Qwen3-0.6B\n"
        "bridge adapter merge ./run/checkpoints ./merged --hf-model Qwen/Qwen3-0.6B\n",
    .pos_opt = {BR__OPT_MERGE_FROM, BR__OPT_HF_PATH},
    .need = {BR__OPT_HF_MODEL, BR__OPT_MERGE_FROM, BR__OPT_HF_PATH},
},

[BR__CMD_ADAPTER_VERIFY] = {
    .name = "adapter verify", .args = "[MEGATRON_DIR] [PEFT_DIR]",
    .summary = "prove that a Megatron checkpoint of adapters and a peft directory are the same",
    .about =
        "Compares scale, kind, names, dtypes, shapes and every byte; prints each difference.  Exit\n"
        "status 0 only if there is none.\n",
    .examples =
        "bridge adapter verify ./run/checkpoints ./my-adapter --hf-model Qwen/Qwen3-0.6B\n",
    .pos_opt = {BR__OPT_MEGATRON_PATH, BR__OPT_PEFT_PATH},
    .need = {BR__OPT_HF_MODEL, BR__OPT_MEGATRON_PATH, BR__OPT_PEFT_PATH},
},

};
/* clang-format on */
