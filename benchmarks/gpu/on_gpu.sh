#!/bin/sh
# Everything that only a GPU can tell, in stages that stay under 8 minutes each and need no network.
#
#   benchmarks/gpu/on_gpu.sh            run what is not done yet, the most valuable first
#   benchmarks/gpu/on_gpu.sh estimates  run these stages (again, or on from where they stopped)
#   benchmarks/gpu/on_gpu.sh tests      run every stage of GPU tests
#   benchmarks/gpu/on_gpu.sh --list     which stages there are, and which are done
#
# It may be called from any folder. Results go to one folder, $OUT (results/gpu of the checkout by
# default): STAGE.log, provenance-STAGE.txt (what each call was made with), the files of the stage,
# and STAGE.done once it has ended well. A stage that runs out of time keeps what it has and goes on
# from there when it is called again; to begin anew, remove its files. PYTHON names the interpreter
# (python3 by default), which needs torch with CUDA; nothing is installed. WHEELS may name a folder
# of wheels that are missing there (pydantic, typer, ...); they are unpacked beside the results and
# put on the path. LIMIT is how many seconds a stage may take, GRACE how many it then has to end.
#
# Exit codes: 0 every stage asked for is done; 1 one failed or has something left; 2 no such stage
# or setting; 3 there is no GPU, and nothing was begun; 130, 143 or 129 after Ctrl-C, TERM or HUP.
set -u
unset CDPATH
STAGES="allocator estimates audit
    tests-cuda tests-budget tests-audits tests-cards tests-doctor tests-verdicts
    all frontier capacity sampler"
TESTS="tests-cuda tests-budget tests-audits tests-cards tests-doctor tests-verdicts"
UNFINISHED=75  # of a stage: it keeps what it has, and goes on when it is called again
MISSED=5       # of estimates_on_gpu.py: everything was measured, and a bound was missed

FROM=$PWD
SELF=$(readlink -f -- "$0")
cd -- "$(dirname -- "$SELF")/../.." || exit 1
ROOT=$PWD

# A path as it was meant where the script was called.
absolute() {
    case $1 in
    "" | /*) printf '%s\n' "$1" ;;
    *) printf '%s/%s\n' "$FROM" "$1" ;;
    esac
}

OUT=$(absolute "${OUT:-$ROOT/results/gpu}")
WHEELS=$(absolute "${WHEELS:-}")
PYTHON=${PYTHON:-python3}
case $PYTHON in */*) PYTHON=$(absolute "$PYTHON") ;; esac
LIMIT=${LIMIT:-460}
GRACE=${GRACE:-20}
for number in "$LIMIT" "$GRACE"; do
    case $number in
    "" | 0* | *[!0-9]*)
        echo "LIMIT and GRACE are whole seconds above 0, not '$number'" >&2
        exit 2 ;;
    esac
done
RUN_LIMIT=$((LIMIT - LIMIT / 11))  # what a command is given, so that it ends by itself

ffprof() { "$PYTHON" -m ffprof "$@"; }

# Whether nothing is missing from the newest record of a folder. Arguments: folder, kind.
finished() {
    newest=$(ls -t "$1/$2"-*.json 2>/dev/null | head -n 1)
    if [ -z "$newest" ]; then
        echo "there is no record in $1"
        return 1
    fi
    "$PYTHON" benchmarks/gpu/finished.py "$newest"
}

begun() { [ -n "$(ls "$1/$2"-*.json 2>/dev/null)" ]; }

# An audit that goes on where it stopped. Arguments: folder, then those of ffprof run.
audit() {
    folder=$1
    shift
    if begun "$folder" audit; then
        ffprof run --resume "$folder" --run-limit "$RUN_LIMIT"
    else
        ffprof run --device cuda --out "$folder" --run-limit "$RUN_LIMIT" "$@"
    fi || return 1
    ffprof report "$folder" > "$folder/report.txt" || return 1
    finished "$folder" audit
}

frontier() {
    folder=$OUT/frontier
    if begun "$folder" frontier; then
        ffprof frontier --resume "$folder" --run-limit "$RUN_LIMIT"
    else
        ffprof frontier --device cuda --preset imagenet100 --gpu-mem 8GB --rounds 3 \
            --run-limit "$RUN_LIMIT" --out "$folder"
    fi || return 1
    ffprof report "$folder" > "$folder/report.txt" || return 1
    finished "$folder" frontier
}

# One search a workload. A search is not gone on with, but what was found of the others stays: a
# search that was cut is made anew at the next call, with all of the time if it is the first left.
capacity() {
    began=$(date +%s)
    result=0
    for one in bp-accum dtg-ff-streamed-accum bp-ckpt-accum bp dtg-ff dtg-ff-streamed bp-ckpt; do
        folder=$OUT/capacity/$one
        [ -e "$folder/done" ] && continue
        left=$((RUN_LIMIT - $(date +%s) + began))
        if [ "$left" -lt "$((LIMIT / 10))" ]; then
            echo "no time is left for $one"
            [ "$result" != 0 ] || result=$UNFINISHED
            continue
        fi
        ffprof run --max-batch --device cuda --preset imagenet100 --gpu-mem 8GB \
            --workloads "$one" --run-limit "$left" --out "$folder" && finished "$folder" capacity
        code=$?
        case $code in
        0) : > "$folder/done" ;;
        "$UNFINISHED") [ "$result" != 0 ] || result=$UNFINISHED ;;
        *) if [ "$((RUN_LIMIT - $(date +%s) + began))" -gt 0 ]; then
               result=1
           else  # it was cut before a size had been tried
               [ "$result" != 0 ] || result=$UNFINISHED
           fi ;;
        esac
    done
    return "$result"
}

# A file of tests; those that have passed are not run again. Arguments: stage, file.
gpu_tests() {
    "$PYTHON" benchmarks/gpu/gpu_tests.py "$OUT/$1.passed" "tests/gpu/$2" || return $?
    rm -f "$OUT/$1.passed"
}

run_stage() {
    case $1 in
    allocator)  # is the simulated caching allocator torch's own?
        gpu_tests "$1" test_allocator_cuda.py ;;
    estimates)  # is what is estimated what the card takes? every workload, fp32 and bf16
        "$PYTHON" benchmarks/gpu/estimates_on_gpu.py --out "$OUT/estimates" --limit "$RUN_LIMIT"
        code=$?
        # All is measured, which was the stage; that a bound is missed is what it has found.
        [ "$code" = "$MISSED" ] && return 0
        return "$code" ;;
    audit)  # the default audit under 8 GB, five rounds: verdicts
        audit "$OUT/audit-8gb" --preset imagenet100 --gpu-mem 8GB --rounds 5 ;;
    tests-cuda)
        gpu_tests "$1" test_cuda.py ;;
    tests-*)
        gpu_tests "$1" "test_${1#tests-}_cuda.py" ;;
    all)  # every workload, one round
        audit "$OUT/audit-8gb-all" --preset imagenet100 --gpu-mem 8GB --workloads all --rounds 1 ;;
    frontier)
        frontier ;;
    capacity)
        capacity ;;
    sampler)  # what sampling costs, and what is wrong with this machine
        ffprof doctor --device cuda && "$PYTHON" benchmarks/bench_sampling.py --device cuda ;;
    esac
}

# Inside of a stage: what the script below has started under timeout(1).
if [ -n "${ON_GPU_STAGE:-}" ]; then
    "$PYTHON" benchmarks/gpu/without_install.py --provenance >> "$OUT/provenance-$1.txt" 2>&1 || exit 1
    run_stage "$1"
    exit $?
fi

chosen=
for word in "$@"; do
    case $word in
    --list)
        for stage in $STAGES; do
            [ -e "$OUT/$stage.done" ] && echo "$stage: done" || echo "$stage: to do"
        done
        exit 0 ;;
    tests)
        chosen="$chosen $TESTS" ;;
    *)
        known=
        for stage in $STAGES; do
            [ "$word" = "$stage" ] && known=yes
        done
        if [ -z "$known" ]; then
            # shellcheck disable=SC2086
            echo "there is no stage '$word'; there are:" $STAGES "and tests for all of them" >&2
            exit 2
        fi
        chosen="$chosen $word" ;;
    esac
done

"$PYTHON" benchmarks/gpu/without_install.py --gpu || exit 3
mkdir -p "$OUT" || exit 1
# Entry points are found through metadata, so a folder with nothing else stands for an installation.
SITE=$OUT/site
PYTHONPATH=$ROOT:$SITE${PYTHONPATH:+:$PYTHONPATH}
XDG_CACHE_HOME=$OUT/cache  # what audits teach about this GPU stays with the results
export PYTHONPATH XDG_CACHE_HOME OUT PYTHON LIMIT GRACE
"$PYTHON" benchmarks/gpu/without_install.py "$SITE" "$WHEELS" || exit 1

# Everything that a stage starts carries this in its environment, so it can be found again.
MARK=$$-$(date +%s)
child=

marked() {
    grep -lsz "^ON_GPU_STAGE=$MARK\$" /proc/[0-9]*/environ 2>/dev/null | cut -d / -f 3
}

# Waits until all of a stage has ended, and ends what has not after GRACE.
sweep() {
    waited=0  # in fifths of a second
    while left=$(marked) && [ -n "$left" ] && [ "$waited" -lt "$((5 * GRACE + 25))" ]; do
        # shellcheck disable=SC2086
        [ "$waited" -ge "$((5 * GRACE))" ] && kill -KILL $left 2>/dev/null
        waited=$((waited + 1))
        sleep 0.2
    done
}

# timeout(1) leads a process group of its own, which no Ctrl-C reaches: it is told, and tells.
stop() {
    trap '' INT TERM HUP
    if [ -n "$child" ]; then
        kill -TERM "$child" 2>/dev/null
        wait "$child"
    fi
    sweep
    echo "== stopped; what is not done goes on at the next call" >&2
    exit "$1"
}
trap 'stop 130' INT
trap 'stop 143' TERM
trap 'stop 129' HUP

result=0
for stage in ${chosen:-$STAGES}; do
    if [ -z "$chosen" ] && [ -e "$OUT/$stage.done" ]; then
        continue
    fi
    echo "== $stage"
    began=$(date +%s)
    rm -f "$OUT/$stage.done"
    echo "== $stage, $(date -u '+%Y-%m-%d %H:%M:%S') UTC" >> "$OUT/$stage.log"
    ON_GPU_STAGE=$MARK timeout --kill-after="$GRACE" "$LIMIT" sh "$SELF" "$stage" \
        >> "$OUT/$stage.log" 2>&1 &
    child=$!
    wait "$child"
    code=$?
    child=
    sweep
    case $code in
    0)
        : > "$OUT/$stage.done"
        told="done" ;;
    "$UNFINISHED" | 124 | 137)
        result=1
        told="not finished (exit $code); call it again to go on" ;;
    *)
        result=1
        told="failed (exit $code)" ;;
    esac
    tail -n 25 "$OUT/$stage.log"
    echo "== $stage: $told, after $(($(date +%s) - began)) s" | tee -a "$OUT/$stage.log"
done
exit "$result"
