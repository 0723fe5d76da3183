#!/bin/bash
# Written by `memloc submit`. It runs the sweep on the head of a Ray cluster, and again after a crash. It does not run it
# again if the sweep was told to stop, if another run would mend nothing, or if it ended within ten minutes.

set -u
sweep=(@SWEEP@)
trap 'signalled=1' TERM  # `ray job stop` tells the sweep too, which then completes its running epochs and parts
cd -- "$(dirname -- "$0")" || exit 1
while :; do
    began=$SECONDS
    @PYTHON@ -m memloc "${sweep[@]}" --address auto &
    driver=$!
    while :; do
        signalled=""
        wait "$driver"
        code=$?
        [ -n "$signalled" ] || break
    done
    case $code in 0 | 1 | 2 | 3 | 130) exit "$code" ;; esac
    [ $((SECONDS - began)) -ge 600 ] || exit "$code"
    echo "memloc: exit code $code; the sweep goes on in 30 s" >&2
    sleep 30
done
