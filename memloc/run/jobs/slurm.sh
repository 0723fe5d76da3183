#!/bin/bash
@HEADER@
#
# Written by `memloc submit`. `sbatch FILE` submits it. It starts Ray on the nodes of the job and runs the sweep. It puts
# itself into the queue again until the sweep is complete: before the time limit, after a pre-emption, after a crash.

set -u
python=@PYTHON@
sweep=(@SWEEP@)
drain=@DRAIN@  # seconds that a sweep has to complete its running epochs and parts, once it is told to stop
nodes=$SLURM_JOB_NUM_NODES
driver=""  # what runs now and is told to stop: what waits for the nodes, then the sweep
told=""    # whether this job was told to stop
steps=()   # the srun of the head, and that of the other nodes

# The first order drains the sweep. One that drains for too long is killed: this script must live to requeue itself.
tell() {
    signalled=1
    [ -z "$told" ] || return
    told=1
    [ -z "$driver" ] || kill -TERM "$driver" 2>/dev/null
    (sleep "$drain"; kill -ALRM $$ 2>/dev/null) &
}
too_long() {
    signalled=1
    [ -z "$driver" ] || kill -KILL "$driver" 2>/dev/null
}
trap tell TERM
trap too_long ALRM

# Runs a program to its end, whatever signals come meanwhile; sets $code.
run() {
    "$@" &
    driver=$!
    [ -z "$told" ] || kill -TERM "$driver" 2>/dev/null
    while :; do
        signalled=""
        wait "$driver"
        code=$?
        [ -n "$signalled" ] || break
    done
    driver=""
}

# A token for this start alone. Only processes of this user can read it in the environment of others.
RAY_AUTH_TOKEN=$(od -An -tx1 -N32 /dev/urandom | tr -d ' \n')
export RAY_AUTH_MODE=token RAY_AUTH_TOKEN RAY_USAGE_STATS_ENABLED=0
export @DETECTION@
unset RAY_ADDRESS RAY_AUTH_TOKEN_PATH RAY_TMPDIR

mapfile -t hosts < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
head=${hosts[0]}  # where this script runs
export MEMLOC_JOB_PYTHON=$python MEMLOC_JOB_HEAD=$head MEMLOC_JOB_BATCH=$$

# --- one node of Ray, in a step of the job; $1: head or worker -------------------------------------------------------
node=$(cat <<'END'
folder=/tmp/memloc-$SLURM_JOB_ID-$MEMLOC_JOB_START${1:0:1}${SLURM_NODEID:-0}  # short: a socket's path has 107 bytes
mkdir -m 700 "$folder" || exit 1
for old in /tmp/memloc-"$SLURM_JOB_ID"-*; do  # of a start that was lost with its node
    [[ $old == /tmp/memloc-$SLURM_JOB_ID-$MEMLOC_JOB_START[hw]* ]] || rm -rf "$old"
done
trap 'rm -rf "$folder"; exit 0' USR1  # the end, from the batch script
# A pre-emption may tell the steps alone. Ray goes on, since the sweep needs it until its running epochs are committed.
trap '[ "$1" = worker ] || kill -TERM "$MEMLOC_JOB_BATCH"' TERM
if [ "$1" = head ]; then
    role=(--head --port="$MEMLOC_JOB_PORT" --include-dashboard=false)
else
    role=(--address="$MEMLOC_JOB_HEAD:$MEMLOC_JOB_PORT")
    until (exec 3<>"/dev/tcp/$MEMLOC_JOB_HEAD/$MEMLOC_JOB_PORT") 2>/dev/null; do sleep 1; done
fi
cpus=$("$MEMLOC_JOB_PYTHON" -c 'from memloc.run.capacity import usable_cpus; print(usable_cpus())')
without_sigterm='import os, signal, sys
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
os.execv(sys.executable, [sys.executable, "-m", "ray.scripts.scripts", *sys.argv[1:]])'
"$MEMLOC_JOB_PYTHON" -c "$without_sigterm" start "${role[@]}" --block --disable-usage-stats --temp-dir="$folder" \
    --num-cpus="$cpus" --num-gpus=@GPUS@ > "$folder/ray-start.log" 2>&1 &
ray=$!
while kill -0 "$ray" 2>/dev/null; do wait "$ray"; done
echo "memloc: Ray has ended on the $1 node $(uname -n)" >&2
tail -n 20 "$folder/ray-start.log" >&2
rm -rf "$folder"
exit 1
END
)

start_ray() {
    MEMLOC_JOB_START=$RANDOM
    MEMLOC_JOB_PORT=$("$python" -c 'import socket; s = socket.socket(); s.bind(("", 0)); print(s.getsockname()[1])')
    export MEMLOC_JOB_START MEMLOC_JOB_PORT
    each=(--ntasks-per-node=1 ${SLURM_CPUS_PER_TASK:+--cpus-per-task="$SLURM_CPUS_PER_TASK"})
    srun --nodes=1 --ntasks=1 --nodelist="$head" "${each[@]}" bash -c "$node" memloc head &
    steps=($!)
    if [ "$nodes" -gt 1 ]; then
        srun --nodes=$((nodes - 1)) --ntasks=$((nodes - 1)) --exclude="$head" "${each[@]}" bash -c "$node" memloc worker &
        steps+=($!)
    fi
    run "$python" -c 'import sys; from memloc.run.cluster import wait_for; wait_for(sys.argv[1], int(sys.argv[2]), 300)' \
        "$head:$MEMLOC_JOB_PORT" "$nodes"
}

end_ray() {
    kill -USR1 "${steps[@]}" 2>/dev/null
    for _ in $(seq 10); do
        kill -0 "${steps[@]}" 2>/dev/null || break
        sleep 0.5
    done
}

echo "memloc: job $SLURM_JOB_ID on $nodes node(s) from $head, start $((${SLURM_RESTART_COUNT:-0} + 1)), $(date -Is)"
code=1
for _ in 1 2 3; do
    [ -z "$told" ] || break
    start_ray
    [ "$code" -ne 0 ] || break
    end_ray
done
if [ "$code" -eq 0 ] && [ -n "$told" ]; then
    code=130
elif [ "$code" -eq 0 ]; then
    run "$python" -m memloc "${sweep[@]}" --address "$head:$MEMLOC_JOB_PORT"
fi
lost=""  # whether Ray has ended by itself
kill -0 "${steps[0]:-}" 2>/dev/null || lost=1
end_ray

# 0: complete; 1: parts have failed; 2: bad input; 3: the store cannot be used. 130 without an order to this job is the answer
# to `memloc stop`. 4: Ray was lost. That and all else is a crash; early in a start it is not repeated, as it might be for ever.
again=""
worth=""
[ -z "$told" ] && [ "$SECONDS" -lt 600 ] || worth=1
case $code in
    0) ;;
    1 | 2 | 3) [ -z "$lost" ] || again=$worth ;;
    130) again=$told ;;
    *) again=$worth ;;
esac
if [ -z "$again" ]; then
    echo "memloc: the sweep has ended with exit code $code"
    exit "$code"
fi
echo "memloc: exit code $code; this job goes into the queue again"
scontrol requeue "$SLURM_JOB_ID" || exit "$code"
sleep 120  # SLURM ends this script
