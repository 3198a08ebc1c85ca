#!/usr/bin/env bash
# Two consoles pair a project, align and train, by the original's routes only.
#
# A and B are the consoles' base addresses, ADMIN_A and ADMIN_B "name:password" of a user at each; the data sets are files
# below each node's federated.data_root, PRODUCER is the third node. docs/projects.md has the configs that this needs.
#   A=http://127.0.0.1:7480/compat/efls B=http://127.0.0.1:7580/compat/efls ADMIN_A=ada:… ADMIN_B=bob:… examples/two_consoles.sh
set -euo pipefail

PRODUCER=${PRODUCER:-third}
FILE_A=${FILE_A:-cells.csv}  # features
FILE_B=${FILE_B:-cells.csv}  # what is to be predicted
STEPS=${STEPS:-200}
WAIT=${WAIT:-120}  # seconds that a run may take
WORD=$(python3 -c 'import secrets; print(secrets.token_urlsafe(18))')  # both sides agree on it, by telephone say
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# ask A|B METHOD PATH [JSON]: the `data` of the answer
ask() {
    local base jar
    if [ "$1" = A ]; then base=$A jar=$work/a; else base=$B jar=$work/b; fi
    curl --silent --show-error --fail-with-body --max-time 60 --cookie "$jar" --cookie-jar "$jar" --request "$2" \
        ${4:+--header 'Content-Type: application/json' --data "$4"} "$base$3" | take "$2 $3" data
}

# take WHAT KEY…: a value of the JSON that is read
take() {
    python3 -c '
import json, sys
found = json.load(sys.stdin)
for key in sys.argv[2:]:
    if not isinstance(found, (dict, list)) or (isinstance(found, dict) and key not in found):
        sys.exit(f"{sys.argv[1]}: {json.dumps(found)}")
    found = found[int(key) if isinstance(found, list) else key]
print(found if isinstance(found, str) else json.dumps(found))' "$@"
}

log_in() {
    ask "$1" POST /user/session "{\"name\": \"${2%%:*}\", \"password\": \"${2#*:}\"}" >/dev/null
}

# task SIDE PROJECT NAME TYPE CONFIG: the id of a root task
task() {
    ask "$1" POST /task "{\"project_id\": \"$2\", \"name\": \"$3\", \"type\": $4, \"task_root\": true,
        \"token\": \"$3 $WORD\", \"config\": $5}" | take task id
}

# run NAME TYPE CONFIG_A CONFIG_B: both sides define the task, A pairs and runs it, B says yes, both end with status 6
run() {
    local pairing instance waiting now=3 peer=3 end=$((SECONDS + WAIT))
    task_a=$(task A "$project_a" "$1" "$2" "$3")
    task_b=$(task B "$project_b" "$1" "$2" "$4")
    pairing=$(ask A POST "/task/inter/$task_a" | take pairing id)
    instance=$(ask A POST "/task_instance/$pairing" | take instance id)
    waiting=$(ask A GET "/task_instance/$instance" | take instance instance_peer_id)
    echo "$1: A asks for run $instance, B says yes to $waiting"
    ask B POST "/task_instance/status/$waiting" '{"operation": 0}' >/dev/null
    while [ "$now" = 3 ] || [ "$peer" = 3 ]; do
        [ $SECONDS -lt $end ] || { echo "$1: not over within $WAIT s"; exit 1; }
        sleep 0.5
        # a side that is being started again does not answer, and is asked again
        now=$(ask A GET "/task_instance/$instance" 2>/dev/null | take instance status 2>/dev/null) || now=3
        peer=$(ask B GET "/task_instance/$waiting" 2>/dev/null | take instance status 2>/dev/null) || peer=3
    done
    echo "$1: status $now at A, $peer at B (6 is SUCCESS)"
    [ "$now" = 6 ] && [ "$peer" = 6 ] || { ask A GET "/task_instance/$instance"; exit 1; }
}

log_in A "$ADMIN_A"
log_in B "$ADMIN_B"
project=$(ask A POST /project "{\"name\": \"cells $WORD\", \"peer_url\": \"$B\", \"config\": {\"producer\": \"$PRODUCER\"}}")
project_a=$(take project id <<<"$project")
project_b=$(take project peer_id <<<"$project")
echo "project $project_a at A is $project_b at B; B's key is $(take project peer_key <<<"$project")"
run align 0 "{\"role\": \"feature_client\", \"file\": \"$FILE_A\", \"output\": \"aligned\"}" \
    "{\"role\": \"label_client\", \"file\": \"$FILE_B\", \"output\": \"aligned\"}"
run train 1 "{\"role\": \"feature_client\", \"prepared\": \"aligned\", \"output\": \"aligned\",
    \"training\": {\"steps\": $STEPS, \"batch_size\": 64, \"learning_rate\": 0.3, \"test_every\": 100, \"checkpoint_every\": 20}}" \
    "{\"role\": \"label_client\", \"prepared\": \"aligned\", \"output\": \"aligned\"}"
