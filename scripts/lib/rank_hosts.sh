# Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0
# rank_hosts.sh - hosts for the ranks of an MPI, which are network namespaces of this machine: root, ip, unshare and mount
# make them.  Sourced with mpi=mpich or openmpi, n = how many, work = a folder; then `make_hosts`, and in the end
# `remove_hosts`.

[[ $mpi =~ ^(mpich|openmpi)$ ]] || { echo "rank_faults: MPI '$mpi'" >&2; exit 2; }
# Names and addresses of this process alone: others may have hosts at the same time.
net=10.$((64 + $$ / 250 % 128)).$(($$ % 250 + 1))
ns=bridge-$$- link=br$$x
# Whatever runs on a host: an MPI leaves programs there that ignore SIGTERM.
empty_hosts() {
    local i
    for ((i = 1; i <= n; i++)); do ip netns pids $ns$i 2>/dev/null | xargs -r kill -9 2>/dev/null || true; done
}
remove_hosts() {
    local i
    empty_hosts
    for ((i = 1; i <= n; i++)); do
        ip netns del $ns$i 2>/dev/null || true
        ip link del $link$i 2>/dev/null || true
    done
    ip link del $link 2>/dev/null || true
}
add_host() {
    ip netns add $ns$1 && ip link add $link$1 type veth peer name eth0 netns $ns$1 &&
        ip link set $link$1 master $link up && ip -n $ns$1 link set lo up &&
        ip -n $ns$1 addr add $net.$1/24 dev eth0 && ip -n $ns$1 link set eth0 up
}
make_hosts() {
    local i
    remove_hosts
    ip link add $link type bridge && ip addr add $net.254/24 dev $link && ip link set $link up || return 1
    for ((i = 1; i <= n; i++)); do add_host $i || return 1; done
    make_agent
}

# make_agent: what an MPI takes for ssh: AGENT [OPTION...] ADDRESS WORD...  The script mount.N is run first on host N.
make_agent() {
    cat >"$work/agent" <<AGENT
#!/bin/bash
while [ "\${1:0:1}" = - ]; do shift; done
i=\${1##*.}; shift
mount=
[ ! -e "$work/mount.\$i" ] || mount=". $work/mount.\$i && "
exec ip netns exec $ns\$i unshare --uts --mount bash -c "hostname node\$i; \$mount\$*"
AGENT
    chmod +x "$work/agent"
}
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 BRIDGE_CPUS=1
export MPIR_CVAR_NOLOCAL=1 UCX_TLS=tcp,self UCX_NET_DEVICES=eth0
# start FLAGS WORD...: a rank on each host; FLAGS: live or plain.
start() {
    local live='' i hosts=$net.1
    for ((i = 2; i <= n; i++)); do hosts+=,$net.$i; done
    case $1$mpi in
    livempich) live=-disable-auto-cleanup ;;
    liveopenmpi) live=--enable-recovery ;;
    esac
    shift
    case $mpi in
    mpich)
        exec mpiexec.mpich $live -launcher ssh -launcher-exec "$work/agent" -localhost $net.254 \
            -hosts $hosts -ppn 1 -n $n "$@"
        ;;
    openmpi)
        exec mpirun.openmpi $live --mca plm_rsh_agent "$work/agent" --host $hosts \
            --mca pml ob1 --mca btl tcp,self --mca btl_tcp_if_include $net.0/24 --mca oob_tcp_if_include $net.0/24 -n $n "$@"
        ;;
    esac
}

