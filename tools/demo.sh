#!/bin/sh
# Run the main job on drawn scenes: data, train, score, predict, convert, stream. `make demo` calls it with the folder to write.
# Called again it goes on where it stopped; each command replaces only what it wrote itself, and the last one drive.mp4.
set -eu
out=${1:-demo}
step() { printf '\n\033[1m== %s\033[0m\n$ %s\n' "$1" "$2"; shift; eval "$1"; }

case $out in *[!A-Za-z0-9_./-]*) echo "The demo's folder may hold letters, digits, _ . / - only; got '$out'." >&2; exit 2 ;; esac
mkdir -p "$out"
step "Draw street scenes" "deeplab-tf sample $out/scenes --scenes 250 --size 256x512 --seed 1"
step "Train a small DeepLabV3+ on them" "deeplab-tf train configs/sample_small.yaml --set data.root=$out/scenes --run $out/run --resume"
step "Score it on scenes it has not seen" "deeplab-tf evaluate $out/run"
step "Predict labels" "deeplab-tf predict $out/run $out/scenes/leftImg8bit/val --out $out/labels --format cityscapes"
step "Score label files, of this or any other program" "deeplab-tf score --pred $out/labels --truth $out/scenes/gtFine/val"
step "Convert it to a bundle, with INT8" "deeplab-tf convert $out/run --int8 --out $out/bundle"
step "Stream a video through it" "deeplab-tf stream $out/bundle --source 'sample://?size=256x512&seed=7' --frames 60 --save $out/drive.mp4 --overwrite"
printf '\nDone. Scores: %s/run/report/report.md. Open: %s and %s\n' "$out" "$out/run/report/best_and_worst.png" "$out/drive.mp4"
