# Reads gcovr's CSV (filename,line_total,line_covered,...) and prints the coverage of src/ and of each
# folder. Fails under 85 % for all of src/ and under 90 % for gguf, text, chat and engine.
BEGIN { FS = ","; least["all of src"] = 85; least["gguf"] = least["text"] = least["chat"] = least["engine"] = 90 }
NR > 1 && $2 > 0 {
    folder = $1; sub(/^src\//, "", folder); sub(/\/.*/, "", folder)
    total[folder] += $2; covered[folder] += $3
    total["all of src"] += $2; covered["all of src"] += $3
}
END {
    if (!total["all of src"]) { print "cover: no line was measured"; exit 1 }
    for (folder in least) if (!(folder in total)) { print "cover: nothing of " folder; bad = 1 }
    for (folder in total) {
        percent = 100 * covered[folder] / total[folder]
        low = (folder in least) && percent < least[folder]
        printf "cover %-10s %6.2f %% of %d lines%s\n", folder, percent, total[folder],
            low ? sprintf(" (the limit is %d %%)", least[folder]) : "" | "sort -k 2"
        if (low) bad = 1
    }
    close("sort -k 2")
    exit bad
}
