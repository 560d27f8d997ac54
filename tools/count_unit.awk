# Counts the cases of a `meson test` log (testlog.txt). A cmocka program prints its own totals, which
# are taken; any other program is one case, by its exit status. The output of what failed is shown,
# and every skipped case with its reason. The last line is "PASSED FAILED".
#
# One program's part of the log:    test:         base/arena
#                                   result:       exit status 0
#                                   ... [  PASSED  ] 7 test(s). ... [  FAILED  ] 1 test(s) ...
#                                   =====================================================

function skip(reason) {
    skips++
    if (!((name, reason) in told)) printf "skip  %s: %s\n", name, reason
    told[name, reason] = 1
}

function close_part(    i) {
    if (name == "") return
    if (result ~ /exit status 77/) {
        if (!skips) skip("the program said no reason")
    } else if (result ~ /exit status 0$/ && !bad) {
        passed += good + skips ? good : 1
    } else {
        # A program that died in the middle has fewer totals than cases; it is one failure at least.
        passed += good
        failed += bad ? bad : 1
        printf "FAIL  %s (%s)\n", name, result
        for (i = (lines > 60 ? lines - 59 : 1); i <= lines; i++) print "      " line[i]
    }
    name = ""
}

/^=+ [0-9]+\/[0-9]+ =+$/ { close_part(); good = bad = skips = lines = 0; result = "no result"; next }
/^=+$/ && length($0) > 70 { close_part(); next }
/^test: / && lines == 0 { name = $NF; next }
/^result: / && lines == 0 { sub(/^result: +/, ""); result = $0; next }
/^(start time|duration|command|-+ std(out|err) -+)/ { next }
name == "" { next }
/^\[ +PASSED +\] [0-9]+ test/ { good += $4 }
/^\[ +FAILED +\] [0-9]+ test\(s\)/ { bad += $4 }
/^\[ +SKIPPED +\] [^0-9]/ { skip($0) }
/^[Ss]kipped:? / { skip($0) }
{ line[++lines] = $0 }
END {
    close_part()
    if (passed + failed == 0) { print "FAIL  no test ran"; failed = 1 }
    print passed + 0, failed + 0
}
