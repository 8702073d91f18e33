#!/bin/sh
# Ask the gateway for a verdict with curl: once by waiting, once as a job whose events are followed.
#
# Run: examples/curl.sh interview.mp4 http://127.0.0.1:8080        (API_KEY=… where the gateway asks for a key)
set -eu

video=$1
gateway=${2:-http://127.0.0.1:8080}

ask() { curl --silent --show-error --fail-with-body ${API_KEY:+--header "Authorization: Bearer $API_KEY"} "$@"; }

# 1. Wait for the verdict: the object of `detect --json`.
ask --form "file=@$video" "$gateway/v1/detect?windows=2"
echo

# 2. Do not wait: a job, its events as they come, and its outcome.
answer=$(ask --form "file=@$video" --header 'Prefer: respond-async' --include "$gateway/v1/detect?windows=2") || {
    printf '%s\n' "$answer" >&2 # why the file was refused
    exit 1
}
location=$(printf '%s\n' "$answer" | tr -d '\r' | sed -n 's/^location: *//Ip')
ask --no-buffer "$gateway$location/events"
ask "$gateway$location"
echo
