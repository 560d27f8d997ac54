# Counts the cases of `node --test --test-reporter=tap`: its closing lines "# pass N", "# fail N",
# "# cancelled N". Shows what failed with its diagnosis, and every skipped case with its reason.
# The last line is "PASSED FAILED".

/^# pass [0-9]+$/ { passed = $3; closed = 1; next }
/^# (fail|cancelled) [0-9]+$/ { failed += $3; next }
/^ *ok [0-9]+ - .*# (SKIP|TODO)/ { sub(/^ *ok [0-9]+ - /, ""); print "skip  e2e: " $0; next }
/^ *not ok [0-9]+ - / { shown = 40; print "FAIL  e2e:" }
/^ *ok [0-9]+ - / { shown = 0 }
shown-- > 0 { print "      " $0 }
END {
    if (!closed) { print "FAIL  e2e: the runner did not come to its end"; failed += 1 }
    if (passed + failed == 0) { print "FAIL  e2e: no test ran"; failed = 1 }
    print passed + 0, failed + 0
}
