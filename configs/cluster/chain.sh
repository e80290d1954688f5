#!/usr/bin/env bash
# Everything from raw NSD to a page per subject, and a table and a page of all: jobs that start when those before them
# have ended well.
#   NSD=/data/nsd bash configs/cluster/chain.sh 1-8
set -euo pipefail

subjects="${1:?give the subjects as an array, for instance 1-8 or 1,2,5,7}"
: "${NSD:?set NSD to the root of the Natural Scenes Dataset}"
export NSD
here="$(dirname "$0")"
mkdir -p outputs/logs

submit() { sbatch --parsable "$@" | cut -d ';' -f 1; }

embed="$(submit "$here/embed.sbatch")"
prepare="$(submit --dependency="afterok:$embed" --array="$subjects" "$here/prepare.sbatch")"
# aftercorr: a subject goes on as soon as its own part is done.
predict="$(submit --dependency="aftercorr:$prepare" --array="$subjects" "$here/predict.sbatch")"
target="--data.target_cache outputs/clip_cache/vit-h-14.parquet"
# shellcheck disable=SC2086  # two words
ceiling="$(submit --dependency="aftercorr:$predict" --array="$subjects" "$here/predict.sbatch" \
    --model.condition true_target $target)"
chance="$(submit --dependency="aftercorr:$ceiling" --array="$subjects" "$here/predict.sbatch" --model.condition shuffled)"
score="$(submit --dependency="aftercorr:$chance" --array="$subjects" "$here/score.sbatch")"
# afterany: a subject that failed is named in the table of the others.
export SUBJECTS="$subjects"
table="$(submit --dependency="afterany:$score" "$here/table.sbatch" \
    --encoder "${ENCODER:-mlp}" --protocol "${PROTOCOL:-mindeye}")"
echo "embed $embed, prepare $prepare, predict $predict, true_target $ceiling, shuffled $chance, score $score, table $table"
