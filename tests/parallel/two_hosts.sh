#!/usr/bin/env bash
# Runs the ranks of a program on two hosts: two sets of namespaces on this machine, joined by a cable, each with a
# name, network and shared memory of its own.
#   two_hosts.sh RANKS PROGRAM [ARG...]      so many ranks on each
# Needs root. Ends with 77 where the system lets nobody make namespaces.
set -euo pipefail
ranks="$1"
shift

if ! unshare --net --uts --ipc --mount true 2>/dev/null; then
  echo "two_hosts: skipped, no namespaces here"
  exit 77
fi
dir="$(mktemp -d)"
hosts=()
cleanup() {
  for pid in "${hosts[@]}"; do
    kill -KILL "$pid" 2>/dev/null || true
    wait "$pid" 2>/dev/null || true
  done
  rm -rf "$dir"
}
trap cleanup EXIT
printf '127.0.0.1 localhost\n10.99.7.1 ovi-a\n10.99.7.2 ovi-b\n' >"$dir/hosts"

# A host is a process that holds the namespaces. It says when it is ready on a pipe, which ends if it cannot be.
boot() {
  local ready
  exec {ready}< <(exec unshare --net --uts --ipc --mount --propagation private bash -c '
    mount -t tmpfs -o mode=1777 tmpfs /dev/shm
    mount --bind "$2/hosts" /etc/hosts
    hostname "$1"
    ip link set lo up
    echo ready
    exec sleep infinity' boot "$1" "$dir")
  hosts+=("$!")
  read -r -u "$ready"
}
on() {
  local pid="$1"
  shift
  nsenter -t "$pid" -n -u -i -m --wd="$PWD" -- "$@"
}
boot ovi-a
boot ovi-b
host_a="${hosts[0]}"
host_b="${hosts[1]}"

on "$host_a" ip link add eth0 type veth peer name ovi-peer
on "$host_a" ip link set ovi-peer netns "$host_b" name eth0
on "$host_a" ip addr add 10.99.7.1/24 dev eth0
on "$host_b" ip addr add 10.99.7.2/24 dev eth0
on "$host_a" ip link set eth0 up
on "$host_b" ip link set eth0 up

# What mpirun calls in place of ssh: the host, then a command line for a shell.
cat >"$dir/agent" <<AGENT
#!/usr/bin/env bash
shift
exec nsenter -t $host_b -n -u -i -m --wd="$PWD" -- /bin/sh -c "\$*"
AGENT
chmod +x "$dir/agent"

export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMP_WAIT_POLICY=passive OMP_NUM_THREADS=1
export OMPI_MCA_pml=ob1 OMPI_MCA_btl=tcp,vader,self OMPI_MCA_btl_vader_single_copy_mechanism=none OMPI_MCA_osc=sm
export OMPI_MCA_mtl=^ofi,psm,psm2 OMPI_MCA_plm=rsh OMPI_MCA_plm_rsh_agent="$dir/agent" OMPI_MCA_mpi_yield_when_idle=1
on "$host_a" mpirun --host "ovi-a:$ranks,ovi-b:$ranks" -np "$((2 * ranks))" --oversubscribe --bind-to none \
  -x OMP_WAIT_POLICY -x OMP_NUM_THREADS -x OVI_TEST_RANKS_A_HOST="$ranks" --tag-output "$@"
