#!/usr/bin/env bash
# All phases of the everyday model, each in work_dirs/<its config>. Run it
# again to go on where it stopped.
#
# Usage: tools/train_everyday.sh [train.py options but --work-dir]
#        PROCESSES=1 tools/train_everyday.sh --amp      on one GPU
set -e

cd "$(dirname "$0")/.."
PROCESSES=${PROCESSES:-2}
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}

for config in \
    maskdino/maskdino_efficientnet-lite0_2xb4-3k_everyday-160.py \
    maskdino/maskdino_efficientnet-lite0_2xb2-2500_everyday-320.py \
    refinevis/refinevis_efficientnet-lite0_2xb2-2k_everyday-pseudo.py \
    refinevis/refinevis_efficientnet-lite0_2xb2-1k_everyday.py
do
    bash tools/dist_train.sh "configs/$config" "$PROCESSES" --resume "$@"
done
