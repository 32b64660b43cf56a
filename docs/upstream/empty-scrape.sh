#!/bin/sh
# A scrape that meets a change of the Cluster finds no number of any custom query, and no error.
# CloudNativePG 1.30.0, a Cluster with spec.monitoring.customQueriesConfigMap.
#
#   ./empty-scrape.sh NAMESPACE CLUSTER METRIC [SCRAPES]     METRIC: one that a custom query gives
#
# Changes an annotation of the Cluster again and again, scrapes the primary beside it, and counts.
set -eu
namespace=$1 cluster=$2 metric=$3 scrapes=${4:-300}
primary=$(kubectl --namespace "$namespace" get cluster "$cluster" --output 'jsonpath={.status.currentPrimary}')
(while :; do
  kubectl --namespace "$namespace" annotate --overwrite cluster "$cluster" "example/now=$(date +%s%N)"
done) >/dev/null 2>&1 &
changes=$!
trap 'kill $changes; kubectl --namespace "$namespace" annotate cluster "$cluster" example/now- >/dev/null' EXIT
empty=0 zero=0 count=0
while [ "$count" -lt "$scrapes" ]; do
  count=$((count + 1))
  page=$(kubectl get --raw "/api/v1/namespaces/$namespace/pods/$primary:9187/proxy/metrics")
  case $page in *"
$metric"*) continue ;; esac
  empty=$((empty + 1))
  case $page in *"
cnpg_last_update_timestamp 0"*) zero=$((zero + 1)) ;; esac
done
echo "$scrapes scrapes of $primary: $empty without $metric, of those $zero with cnpg_last_update_timestamp 0"
test "$empty" = 0
