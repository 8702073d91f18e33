#!/bin/sh
# Run pytest with these arguments, then the tests that failed once more, by themselves: a test of time loses now and
# then to whatever else the machine does. Both runs are printed; one that fails twice has failed.
# Usage: run_twice.sh PYTEST... Status: pytest's; 0 also where no test was selected. With -x or --maxfail, pytest leaves
# tests out: then once only.
failed=1 nothing_selected=5

"$@"
status=$?
case " $* " in
*" -x "* | *" --exitfirst "* | *" --maxfail"*) exit "$status" ;;
esac
if [ "$status" -eq "$failed" ]; then
  printf '\nSome tests failed: once more, with nothing beside them.\n'
  "$@" --numprocesses 0 --last-failed --last-failed-no-failures none
  status=$?
  [ "$status" -ne "$nothing_selected" ] || exit "$failed"
fi
[ "$status" -ne "$nothing_selected" ] || exit 0
exit "$status"
