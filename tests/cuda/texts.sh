# Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0
# texts.sh - what the CUDA backend says of a machine that it cannot use, or not for what is wanted.  Runs on the
# simulated device, whose folder BRIDGE_PLUGIN_PATH names.
. "$(dirname "$0")/../cli/lib.sh"
simulated=${BRIDGE_PLUGIN_PATH:?}
export CUDASIM_DEVICES=1

expect 0 doctor
says 'Simulated GPU x1, compute capability 9.0, 4.0 GiB, driver for CUDA 13.0; cuBLASLt 13.'
says ', NCCL 2.'
# It asks the runtime four questions, none of which makes a context: how many devices, what the first is, the driver.
calls=$(CUDASIM_CALLS=1 "$BRIDGE" doctor 2>&1 >/dev/null | sed -n 's/^cudasim: \([0-9]*\) calls$/\1/p')
[ "$calls" -le 4 ] || fail "doctor makes $calls calls of the runtime"
expect 0 toy qwen3 -o model
run=(generate model --input-ids 1,2,3 --max-new-tokens 2 --dtype float32)

# ---- the driver -------------------------------------------------------------------------------------------------

# refused DRIVER TEXT: doctor says it, and so does a run, which ends there.
refused() {
    export CUDASIM_DRIVER=$1
    expect 0 doctor
    says "$2"
    expect 12 "${run[@]}" --device cuda
    complains "backend 'cuda' cannot be used here: $2"
    mute
    unset CUDASIM_DRIVER
}
refused none 'no NVIDIA driver: libcuda.so.1 is not there'
refused old 'the driver supports CUDA 12.4; this module needs 13.0 (driver 580 or newer)'
refused mismatch 'driver and kernel module differ; restart the machine'
CUDASIM_ARCH=75 expect 12 "${run[@]}" --device cuda
complains 'GPU 0, Simulated GPU, has compute capability 7.5; 8.0 or newer is needed'
export CUDASIM_DEVICES=0
expect 12 "${run[@]}" --device cuda
complains 'no GPU is visible'
export CUDASIM_DEVICES=1

# ---- devices and memory -----------------------------------------------------------------------------------------

expect 12 "${run[@]}" --device cuda:7
complains "device 7 of backend 'cuda' is wanted, 1 are there; every rank of a host needs its own"
expect 12 "${run[@]}" --device cuda --tp 2
complains "device 1 of backend 'cuda' is wanted, 1 are there; every rank of a host needs its own"
ids=$(seq -s, 1 250)
# --device auto, which is what nothing said means, takes a GPU that can be used, else the CPU.
CUDASIM_MEMORY=1 expect 13 logits model --input-ids "$ids,$ids" --dtype float32 --output o
complains "device 'cuda' is out of memory"
CUDASIM_DRIVER=none expect 0 logits model --input-ids "$ids" --dtype float32 --output on_cpu
CUDASIM_MEMORY=1 expect 13 logits model --input-ids "$ids,$ids" --dtype float32 --device cuda --output o
complains "device 'cuda' is out of memory for activations of 1536000 bytes, beside "
complains 'use a shorter --context, fewer prompts at once or more ranks'

# ---- libraries --------------------------------------------------------------------------------------------------

# What lies beside the module is what it finds first, whatever the machine has elsewhere.
export CUDA_HOME=$work/none
mkdir part
beside=$simulated
[ -e "$beside/libcudasim.so" ] || beside=$simulated/..
cp "$simulated"/bridge_cuda.so "$beside"/libcudasim.so part/
: >part/libcublasLt.so.13
BRIDGE_PLUGIN_PATH=$work/part expect 0 doctor
says 'driver for CUDA 13.0; '
says 'libcublasLt.so.13: file too short; install CUDA 13'
BRIDGE_PLUGIN_PATH=$work/part expect 12 "${run[@]}" --device cuda
complains "libcublasLt.so.13: file too short"
complains "install CUDA 13's cuBLAS or add its folder to LD_LIBRARY_PATH, or use --device cpu"
cp "$beside"/libnccl.so.2 part/libcublasLt.so.13
BRIDGE_PLUGIN_PATH=$work/part expect 12 "${run[@]}" --device cuda
complains "libcublasLt.so.13 has no cublasLt"
cp "$beside"/libcublasLt.so.13 part/
: >part/libnccl.so.2
BRIDGE_PLUGIN_PATH=$work/part expect 0 doctor
says '; several GPUs: '
says 'libnccl.so.2: file too short; install NCCL 2.18 or newer'
BRIDGE_PLUGIN_PATH=$work/part CUDASIM_DEVICES=2 expect 12 "${run[@]}" --device cuda --tp 2
complains "libnccl.so.2: file too short"
complains 'install NCCL 2.18 or newer'

# Nothing of that name anywhere; a loader that is asked to preload it says whether it has one.
unset LD_LIBRARY_PATH
rm part/libcublasLt.so.13
if LD_PRELOAD=libcublasLt.so.13 true 2>&1 | grep -q 'cannot be preloaded'; then
    BRIDGE_PLUGIN_PATH=$work/part expect 12 "${run[@]}" --device cuda
    complains "libcublasLt.so.13: cannot open shared object file"
fi
