// A standby of a timeline that was given up is preferred to one that has the acknowledged rows.
// In a checkout of CloudNativePG (1.25.4 to 1.30.0):
//
//	cp timeline_test.go pkg/postgres/ && go test ./pkg/postgres -run TestStandbyOfAnOldTimeLine
package postgres

import (
	"sort"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestStandbyOfAnOldTimeLine(t *testing.T) {
	pod := func(name string) *corev1.Pod {
		return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name}}
	}
	// "old" received the last WAL of timeline 1, its primary's shutdown included, and never followed to
	// timeline 2. "new" streams timeline 2 and holds rows that clients were told are committed.
	list := PostgresqlStatusList{Items: []PostgresqlStatus{
		{Pod: pod("new"), TimeLineID: 2, ReceivedLsn: "0/5000080", ReplayLsn: "0/5000080", IsPodReady: true},
		{Pod: pod("old"), TimeLineID: 1, ReceivedLsn: "0/5000100", ReplayLsn: "0/5000100", IsPodReady: true},
	}}
	sort.Sort(&list)
	if chosen := list.Items[0].Pod.Name; chosen != "new" {
		t.Errorf("%q is promoted next: what was acknowledged on timeline 2 is lost", chosen)
	}
}
