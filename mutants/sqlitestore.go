package main

var sqlitestore = []mutant{
	{
		name:   "I4-sqlite-write-revives",
		breaks: "an update changes only live sessions",
		test:   "./drivers/sqlitestore -run TestStore/I4",
		edits: []edit{{"drivers/sqlitestore/update.go",
			`err == nil && !a.live(r, now)`,
			`false`}},
	},
	{
		name:   "I5-sqlite-no-compare",
		breaks: "an update compares revisions",
		test:   "./drivers/sqlitestore -run TestStore/I5",
		edits: []edit{{"drivers/sqlitestore/update.go",
			`return nil, store.ErrConflict`,
			`r.Revision = old.Revision`}},
	},
	{
		name:   "I6-sqlite-acknowledged-early",
		breaks: "a write is acknowledged after its transaction, not before",
		test:   "./drivers/sqlitestore -run TestI6KillNine",
		edits: []edit{
			{"drivers/sqlitestore/writer.go",
				`for _, one := range group {
			close(one.done)
		}`,
				``},
			{"drivers/sqlitestore/writer.go",
				`if _, err = w.conn.exec("COMMIT"); err == nil {`,
				`for _, one := range group {
					close(one.done)
				}
				if _, err = w.conn.exec("COMMIT"); err == nil {`},
		},
	},
	{
		name:   "I6-sqlite-failed-sync-is-certain",
		breaks: "a write whose sync failed may have happened",
		test:   "./drivers/sqlitestore -run TestI6Faults/Use/fdatasync",
		edits: []edit{{"drivers/sqlitestore/writer.go",
			`uncertain = !isFull(err)`,
			`uncertain = false && !isFull(err)`}},
	},
	{
		name:   "I6-sqlite-half-made-file",
		breaks: "a file whose creation was interrupted can be opened",
		test:   "./drivers/sqlitestore -run TestI6Faults/OpenNew/fdatasync",
		edits: []edit{
			{"drivers/sqlitestore/file.go",
				`db.ExecContext(ctx, fmt.Sprintf("PRAGMA application_id = %d", applicationID))`,
				`p.Up(ctx)`},
			{"drivers/sqlitestore/file.go",
				`p.Up(ctx)`,
				`db.ExecContext(ctx, fmt.Sprintf("PRAGMA application_id = %d", applicationID))`},
		},
	},
	{
		name:   "I6-sqlite-new-directory-unsynced",
		breaks: "the names of new directories are synced",
		test:   "./drivers/sqlitestore -run TestI6SyncBeforeAcknowledgement/AsItIs",
		edits: []edit{{"drivers/sqlitestore/file.go",
			`return syncDir(dir)`,
			`return nil`}},
	},
	{
		name:   "I6-sqlite-unsynced",
		breaks: "the log is synced before a write is acknowledged",
		test:   "./drivers/sqlitestore -run TestI6SyncBeforeAcknowledgement/AsItIs",
		edits: []edit{{"drivers/sqlitestore/sqlitestore.go",
			`synchronous(FULL)`,
			`synchronous(NORMAL)`}},
	},
	{
		name:   "I11-sqlite-no-room-for-ends",
		breaks: "sessions can be ended on a full disk",
		test:   "./drivers/sqlitestore -run TestEndsOnAFullDisk/tmpfs",
		edits: []edit{{"drivers/sqlitestore/writer.go",
			`n == 1 && !(one[0].ends && w.reserve.release()) {`,
			`n == 1 {`}},
	},
	{
		name:   "I11-sqlite-no-start-on-a-full-disk",
		breaks: "a store that starts on a full disk has the reserved room for ends",
		test:   "./drivers/sqlitestore -run TestEndsOnAFullDisk/tmpfs",
		edits: []edit{{"drivers/sqlitestore/sqlitestore.go",
			`if lacksRoom(err) && s.reserve.release() {`,
			`if false {`}},
	},
	{
		name:   "I7-sqlite-search-finds-the-expired",
		breaks: "a search finds no session that has expired",
		test:   "./drivers/sqlitestore -run TestStore/Search/OnlyTheLive",
		edits: []edit{{"drivers/sqlitestore/search.go",
			`!a.live(&r, now) {`,
			`a.ended(&r) {`}},
	},
	{
		name:   "I2-sqlite-search-of-all-applications",
		breaks: "a search finds only sessions of its own application",
		test:   "./drivers/sqlitestore -run TestStore/Search/EachCondition",
		edits: []edit{{"drivers/sqlitestore/search.go",
			`FROM sessions WHERE app = ?1 AND id >= ?2`,
			`FROM sessions WHERE (app = ?1 OR true) AND id >= ?2`}},
	},
	{
		name:   "I2-sqlite-ended-of-all-applications",
		breaks: "a list of ended sessions has only those of its own application",
		test:   "./drivers/sqlitestore -run TestStore/Ended/EveryEnd",
		edits: []edit{{"drivers/sqlitestore/read.go",
			`"WHERE app = ? AND ended_subject`,
			`"WHERE (app = ? OR true) AND ended_subject`}},
	},
}
