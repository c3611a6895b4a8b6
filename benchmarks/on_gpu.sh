#!/bin/sh
# Everything that only a GPU can tell, in stages that stay under 8 minutes each and need no network.
#
#   benchmarks/on_gpu.sh            run what is not done yet, the most valuable first
#   benchmarks/on_gpu.sh estimates  run one stage (again, or on from where it stopped)
#   benchmarks/on_gpu.sh --list     which stages there are, and which are done
#
# Results go to one folder, $OUT (results/gpu by default): a log for every stage, its files, and
# STAGE.done once it has ended well. A stage that runs out of time keeps what it has and goes on
# from there when it is called again. PYTHON names the interpreter (python3 by default), which
# needs torch with CUDA; nothing is installed. WHEELS may name a folder of wheels that are missing
# there (pydantic, typer, ...); they are unpacked beside the results and put on the path.
set -u
cd "$(dirname "$0")/.." || exit 1
OUT=${OUT:-results/gpu}
PYTHON=${PYTHON:-python3}
LIMIT=${LIMIT:-460}  # seconds of a stage
STAGES="allocator estimates audit tests all frontier capacity energy"
mkdir -p "$OUT" || exit 1
OUT=$(cd "$OUT" && pwd)

if [ "${1:-}" = --list ]; then
    for stage in $STAGES; do
        [ -e "$OUT/$stage.done" ] && echo "$stage: done" || echo "$stage: to do"
    done
    exit 0
fi

# Entry points are found through metadata, so a folder with nothing else stands for an installation.
SITE=$OUT/site
PYTHONPATH=$PWD:$SITE${PYTHONPATH:+:$PYTHONPATH}
export PYTHONPATH
export XDG_CACHE_HOME="$OUT/cache"  # what audits teach about this GPU stays with the results
"$PYTHON" benchmarks/without_install.py "$SITE" "${WHEELS:-}" || exit 1

ffprof() { "$PYTHON" -m ffprof "$@"; }

newest() { ls -t "$1"/audit-*.json 2>/dev/null | head -n 1; }

# An audit that goes on where it stopped. Arguments: folder, then those of ffprof run.
audit() {
    folder=$1
    shift
    if [ -n "$(newest "$folder")" ]; then
        ffprof run --resume "$folder" --run-limit "$((LIMIT - 40))"
    else
        ffprof run --device cuda --out "$folder" --run-limit "$((LIMIT - 40))" "$@"
    fi || return 1
    ffprof report "$folder" > "$folder/report.txt"
    # Stopped by its limit with trials missing: not done, to be called again.
    "$PYTHON" -c 'import sys, ffprof; sys.exit(bool(ffprof.load(sys.argv[1]).missing()))' \
        "$(newest "$folder")"
}

frontier() {
    if [ -n "$(ls "$OUT"/frontier/frontier-*.json 2>/dev/null)" ]; then
        ffprof frontier --resume "$OUT/frontier" --run-limit "$((LIMIT - 40))"
    else
        ffprof frontier --device cuda --preset imagenet100 --gpu-mem 8GB --rounds 3 \
            --run-limit "$((LIMIT - 40))" --out "$OUT/frontier"
    fi || return 1
    ffprof report "$OUT/frontier" > "$OUT/frontier/report.txt"
    ! grep -q '"stopped": "[^"]' "$OUT"/frontier/frontier-*.json  # stopped by its limit
}

# One search a workload, so that a stage that is called again does the others.
capacity() {
    for one in bp-accum dtg-ff-streamed-accum bp-ckpt-accum bp dtg-ff dtg-ff-streamed bp-ckpt; do
        folder=$OUT/capacity/$one
        [ -e "$folder/done" ] && continue
        ffprof run --max-batch --device cuda --preset imagenet100 --gpu-mem 8GB \
            --workloads "$one" --out "$folder" || return 1
        touch "$folder/done"
    done
}

run_stage() {
    case $1 in
    allocator)  # is the simulated caching allocator torch's own?
        "$PYTHON" -m pytest -q -p no:cacheprovider tests/gpu/test_allocator_cuda.py ;;
    estimates)  # is what is estimated what the card takes? every workload, fp32 and bf16
        "$PYTHON" benchmarks/estimates_on_gpu.py --out "$OUT/estimates" --limit "$((LIMIT - 40))" ;;
    audit)  # the default audit under 8 GB, five rounds: verdicts
        audit "$OUT/audit-8gb" --preset imagenet100 --gpu-mem 8GB --rounds 5 ;;
    tests)
        "$PYTHON" -m pytest -q -p no:cacheprovider tests/gpu ;;
    all)  # every workload, one round
        audit "$OUT/audit-8gb-all" --preset imagenet100 --gpu-mem 8GB --workloads all --rounds 1 ;;
    frontier)
        frontier ;;
    capacity)
        capacity ;;
    energy)  # what sampling costs, and what is wrong with this machine
        ffprof doctor --device cuda --measure ;;
    *)
        echo "no stage $1; there are: $STAGES" >&2
        return 2 ;;
    esac
}

chosen=${*:-}
for stage in ${chosen:-$STAGES}; do
    if [ -z "$chosen" ] && [ -e "$OUT/$stage.done" ]; then
        continue
    fi
    echo "== $stage"
    began=$(date +%s)
    # A command of its own, so that timeout can end it with all that it has started.
    if [ "${ON_GPU_INSIDE:-}" = yes ]; then
        run_stage "$stage"
        exit $?
    fi
    ON_GPU_INSIDE=yes OUT=$OUT PYTHON=$PYTHON LIMIT=$LIMIT WHEELS=${WHEELS:-} \
        timeout --kill-after=20 "$LIMIT" sh "$0" "$stage" > "$OUT/$stage.log" 2>&1
    code=$?
    tail -n 25 "$OUT/$stage.log"
    echo "== $stage: exit $code after $(($(date +%s) - began)) s"
    if [ "$code" = 0 ]; then
        touch "$OUT/$stage.done"
    else
        rm -f "$OUT/$stage.done"
    fi
done
"$PYTHON" benchmarks/without_install.py --provenance > "$OUT/provenance.txt"
