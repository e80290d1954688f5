#!/usr/bin/env bash
# Everything from raw NSD to one table and one page of all subjects: embeddings, then all stages of a subject in one job
# each, then what is made of all of them. Words behind the array go to fmri-lightning subjects.
#   NSD=/data/nsd bash configs/cluster/subjects.sh 1-8 --encoder mlp --protocol mindeye
set -euo pipefail

subjects="${1:?give the subjects as an array, for instance 1-8 or 1,2,5,7}"
shift
: "${NSD:?set NSD to the root of the Natural Scenes Dataset}"
export NSD
here="$(dirname "$0")"
mkdir -p outputs/logs

submit() { sbatch --parsable "$@" | cut -d ';' -f 1; }

embed="$(submit "$here/embed.sbatch")"
array="$(submit --dependency="afterok:$embed" --array="$subjects" "$here/subjects.sbatch" "$@")"
# afterany: a subject that failed is named in the table of the others.
export SUBJECTS="$subjects"
table="$(submit --dependency="afterany:$array" "$here/table.sbatch" "$@")"
echo "embed $embed, subjects $array, table $table"
