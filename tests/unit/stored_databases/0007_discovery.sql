BEGIN TRANSACTION;
CREATE TABLE "_sqlite_migrations" (
   "id" INTEGER PRIMARY KEY,
   "migration_set" TEXT,
   "name" TEXT,
   "applied_at" TEXT
);
INSERT INTO "_sqlite_migrations" VALUES(1,'callboard','0001_first_tables','2026-11-23 00:35:01.583237+00:00');
INSERT INTO "_sqlite_migrations" VALUES(2,'callboard','0002_dead_letters_and_drift','2026-11-23 03:18:25.736584+00:00');
INSERT INTO "_sqlite_migrations" VALUES(3,'callboard','0003_outbox_counts','2026-11-27 23:38:01.744379+00:00');
INSERT INTO "_sqlite_migrations" VALUES(4,'callboard','0004_outbox_marks','2026-11-28 06:04:20.123034+00:00');
INSERT INTO "_sqlite_migrations" VALUES(5,'callboard','0005_outbox_groups','2026-11-28 06:25:36.684747+00:00');
INSERT INTO "_sqlite_migrations" VALUES(6,'callboard','0006_users_and_backups','2026-11-28 08:50:01.369057+00:00');
INSERT INTO "_sqlite_migrations" VALUES(7,'callboard','0007_discovery','2026-11-28 15:44:27.541145+00:00');
CREATE TABLE admin_sessions (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            token_hash BLOB NOT NULL UNIQUE,
            user_id INTEGER NOT NULL REFERENCES users(id) ON DELETE CASCADE,
            created_at INTEGER NOT NULL,
            expires_at INTEGER NOT NULL,
            peer TEXT NOT NULL,
            user_agent TEXT NOT NULL
        );
INSERT INTO "admin_sessions" VALUES(1,X'0000000000000000000000000000000000000000000000000000000000000000',1,1,2,'127.0.0.1','curl');
CREATE TABLE agent (
            id INTEGER PRIMARY KEY CHECK (id = 1),
            uuid TEXT NOT NULL,
            name TEXT NOT NULL,
            type TEXT NOT NULL,
            created_at TEXT NOT NULL,
            updated_at TEXT NOT NULL
        );
INSERT INTO "agent" VALUES(1,'3f2b8c1e-90d4-4a57-8e61-0c2d7b9a4f10','press-hall','standalone','2026-11-23T00:35:01.585Z','2026-11-23T00:35:01.585Z');
CREATE TABLE backup_schedule (
            id INTEGER PRIMARY KEY CHECK (id = 1),
            enabled INTEGER NOT NULL,
            interval_hours INTEGER NOT NULL,
            keep_count INTEGER NOT NULL,
            last_run_at INTEGER,
            next_run_at INTEGER
        );
INSERT INTO "backup_schedule" VALUES(1,1,24,7,NULL,NULL);
CREATE TABLE dead_letters (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            destination_id INTEGER NOT NULL REFERENCES target_state(id) ON DELETE CASCADE,
            seq INTEGER NOT NULL,
            created_at INTEGER NOT NULL,
            rejected_at INTEGER NOT NULL,
            topic TEXT NOT NULL,
            reason TEXT NOT NULL,
            payload BLOB NOT NULL,
            UNIQUE (destination_id, rejected_at, seq)
        );
INSERT INTO "dead_letters" VALUES(1,2,41,1767225600000,1767225602000,'plant/line-1','not a number',X'00FF807B7D');
CREATE TABLE devices (
            id INTEGER PRIMARY KEY,
            uuid TEXT NOT NULL UNIQUE,
            endpoint_id INTEGER NOT NULL REFERENCES target_state(id) ON DELETE CASCADE,
            name TEXT NOT NULL,
            protocol TEXT NOT NULL,
            enabled INTEGER NOT NULL,
            identifier TEXT NOT NULL,
            metadata TEXT,
            created_at TEXT NOT NULL,
            updated_at TEXT NOT NULL
        );
INSERT INTO "devices" VALUES(1,'800d8de4-f62a-4a04-ad0b-748f65d39055',1,'plc-line-1','modbus',1,'17',NULL,'2026-11-23T00:35:01.586Z','2026-11-23T00:35:01.586Z');
CREATE TABLE discovery_runs (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            uuid TEXT NOT NULL UNIQUE,
            rule_uuid TEXT NOT NULL,
            rule_name TEXT NOT NULL,
            protocol TEXT NOT NULL,
            trigger TEXT NOT NULL,
            started_at INTEGER NOT NULL,
            finished_at INTEGER,
            duration_ms INTEGER,
            status TEXT NOT NULL,
            found INTEGER NOT NULL DEFAULT 0,
            saved INTEGER NOT NULL DEFAULT 0,
            skipped INTEGER NOT NULL DEFAULT 0,
            pruned INTEGER NOT NULL DEFAULT 0,
            error TEXT
        );
INSERT INTO "discovery_runs" VALUES(1,'r-1','5a1d2f0e-7b3c-4c58-9d11-0c2d7b9a4f10','Modbus Network Scan','modbus','scheduled',1767225600000,1767225602000,2000,'ok',1,1,0,0,NULL);
INSERT INTO "discovery_runs" VALUES(2,'r-2','5a1d2f0e-7b3c-4c58-9d11-0c2d7b9a4f10','Modbus Network Scan','modbus','manual',1767225700000,NULL,NULL,'running',0,0,0,0,NULL);
CREATE TABLE discovery_sightings (
            rule_uuid TEXT NOT NULL,
            fingerprint TEXT NOT NULL,
            scope TEXT NOT NULL,
            name TEXT NOT NULL,
            first_seen_at INTEGER NOT NULL,
            last_seen_at INTEGER NOT NULL,
            missed INTEGER NOT NULL DEFAULT 0,
            PRIMARY KEY (rule_uuid, fingerprint)
        ) WITHOUT ROWID;
INSERT INTO "discovery_sightings" VALUES('5a1d2f0e-7b3c-4c58-9d11-0c2d7b9a4f10','ffffffffffffffffffffffffffffffff','scope','plc-2',1767225600000,1767225600000,0);
CREATE TABLE discovery_states (
            rule_uuid TEXT PRIMARY KEY,
            status TEXT NOT NULL,
            last_run_at INTEGER,
            next_run_at INTEGER,
            last_result TEXT,
            attempts INTEGER NOT NULL DEFAULT 0
        );
INSERT INTO "discovery_states" VALUES('5a1d2f0e-7b3c-4c58-9d11-0c2d7b9a4f10','running',1767225700000,1767229200000,NULL,1);
CREATE TABLE drift_baselines (
            protocol TEXT NOT NULL,
            device_uuid TEXT NOT NULL,
            device TEXT NOT NULL,
            body BLOB NOT NULL,
            updated_at TEXT NOT NULL,
            PRIMARY KEY (protocol, device_uuid)
        );
INSERT INTO "drift_baselines" VALUES('modbus','1a2b3c4d-0000-4000-8000-000000000001','plc-line-1',X'7B7D','2026-11-23T00:35:02.000Z');
CREATE TABLE drift_events (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            protocol TEXT NOT NULL,
            device_uuid TEXT NOT NULL,
            device TEXT NOT NULL,
            drift_type TEXT NOT NULL,
            field TEXT NOT NULL,
            severity TEXT NOT NULL,
            detected_at TEXT NOT NULL,
            details TEXT NOT NULL
        );
INSERT INTO "drift_events" VALUES(1,'modbus','1a2b3c4d-0000-4000-8000-000000000001','plc-line-1','new-field','reading:oil_temp','warning','2026-11-23T00:35:02.000Z','{}');
CREATE TABLE outbox (
            destination_id INTEGER NOT NULL REFERENCES target_state(id) ON DELETE CASCADE,
            seq INTEGER NOT NULL,
            created_at INTEGER NOT NULL,
            topic TEXT NOT NULL,
            payload BLOB NOT NULL, qos INTEGER NOT NULL DEFAULT 1, retain INTEGER NOT NULL DEFAULT 0,
            PRIMARY KEY (destination_id, seq)
        );
INSERT INTO "outbox" VALUES(2,47,1767225607000,'plant/line-1',X'7B7D',1,1);
CREATE TABLE outbox_counts (
            destination_id INTEGER PRIMARY KEY REFERENCES target_state(id) ON DELETE CASCADE,
            rows INTEGER NOT NULL DEFAULT 0,
            bytes INTEGER NOT NULL DEFAULT 0,
            last_seq INTEGER NOT NULL DEFAULT 0,
            dead_letters INTEGER NOT NULL DEFAULT 0
        , packed_rows INTEGER NOT NULL DEFAULT 0, packed_bytes INTEGER NOT NULL DEFAULT 0);
INSERT INTO "outbox_counts" VALUES(2,1,2,47,1,3,67);
CREATE TABLE outbox_group_data (
            group_id INTEGER PRIMARY KEY REFERENCES outbox_groups(id) ON DELETE CASCADE,
            data BLOB NOT NULL
        );
INSERT INTO "outbox_group_data" VALUES(1,X'28B52FFD247C540200940394962AAC706C616E742F6C696E652D31C4027B7DCF0000019B76DAABE801C2962B0001B3B801C2962DBB8801C2962E32C40500FF80BF7000C3050044150570E52B50808B133AF504010000082181CA');
CREATE TABLE outbox_groups (
            id INTEGER PRIMARY KEY,
            destination_id INTEGER NOT NULL REFERENCES target_state(id) ON DELETE CASCADE,
            first_seq INTEGER NOT NULL,
            last_seq INTEGER NOT NULL,
            created_at INTEGER NOT NULL,
            packed INTEGER NOT NULL,
            rows INTEGER NOT NULL,
            live BLOB NOT NULL,
            size INTEGER NOT NULL,
            bytes INTEGER NOT NULL,
            UNIQUE (destination_id, first_seq)
        );
INSERT INTO "outbox_groups" VALUES(1,2,42,46,1767225601000,4,3,X'19',124,90);
CREATE TABLE outbox_marks (
            destination_id INTEGER NOT NULL REFERENCES target_state(id) ON DELETE CASCADE,
            seen_ms INTEGER NOT NULL,
            seq INTEGER NOT NULL,
            PRIMARY KEY (destination_id, seen_ms)
        ) WITHOUT ROWID;
INSERT INTO "outbox_marks" VALUES(2,0,41);
INSERT INTO "outbox_marks" VALUES(2,3600000,43);
CREATE TABLE target_state (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            kind TEXT NOT NULL,
            uuid TEXT NOT NULL UNIQUE,
            name TEXT,
            parent_id INTEGER REFERENCES target_state(id) ON DELETE CASCADE,
            body BLOB NOT NULL,
            created_at TEXT NOT NULL,
            updated_at TEXT NOT NULL
        );
INSERT INTO "target_state" VALUES(1,'endpoint','92172dec-2f94-4a67-a76b-ad255c75bb27','plc-line-1',NULL,X'01C5D68AFEE3EFACC78E879DF48E179254FC7FCA4DB4A4B47EAAADB1C505FD17D0633F8410BE56B7207E546E18B657F5F4720458737B5F08C286B80876C389873BD3FCB055C8FC964B9538EFB019BA8059071884B1C82928455567EB08048C9F5CE226DE738DAC2F513D59EDB33D6201288FBBF82D0DC1481F5E03E30B0348FF5E0E06','2026-11-23T00:35:01.585Z','2026-11-23T00:35:01.585Z');
INSERT INTO "target_state" VALUES(2,'destination','ad07e921-746a-4876-9449-476a1e9d7b94','broker',NULL,X'01A1C89733650C16D0B2780C25F04BEFCC481695E78EA55E4E49F5AA959E3959ED7E726D99D0AB6AD096D953ACD4FE011FC72B47E53F7DD96271FB0E2B8D0D70DAC0588DA0D80746AE910F4648DD86BA46EF38','2026-11-23T00:35:01.586Z','2026-11-23T00:35:01.586Z');
INSERT INTO "target_state" VALUES(3,'subscription','b2c8082d-7265-4c1c-9333-01d684a71335',NULL,2,X'0102061DE1F66133ADB4BDEEA5CBE8F84CF5E133531C59638E018CE076D0355B04BFB447312E137032B701657A0E4DDFA009','2026-11-23T00:35:01.587Z','2026-11-23T00:35:01.587Z');
INSERT INTO "target_state" VALUES(4,'discovery_rule','5a1d2f0e-7b3c-4c58-9d11-0c2d7b9a4f10',NULL,NULL,X'010FDFFF051A72A2212E1AC5AECC0464D9E0154625F635C34F5E3243AE6825FAA66AF768DAF53A8F0B82DA48267943C3FE451B3043D417E633A62E570BF13409D49A733DD398E5FF00278232A479D1436F6F70E4C840950D565E516B590C507F2AEC1B9238B0EC09F000D337365432301497931DACD0F519FACB4BDD070A1CBE09BD36B051AA6987015A2F16C0727A5D1DD9D87325BC67DCCD133217B0176B8865AA308C7200BDDB6ECFD92EC098E18D007B357102CDCCE735B7EA8392C77A30DC12ACE5B8','2026-11-28T15:44:27.554Z','2026-11-28T15:44:27.554Z');
CREATE TABLE users (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            username TEXT NOT NULL UNIQUE,
            password_hash TEXT NOT NULL,
            role TEXT NOT NULL,
            is_active INTEGER NOT NULL,
            must_change_password INTEGER NOT NULL,
            created_at TEXT NOT NULL,
            updated_at TEXT NOT NULL
        );
INSERT INTO "users" VALUES(1,'admin','$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$AAAAAAAAAAAAAAAAAAAAAA','admin',1,0,'2026-11-28T09:00:00.000Z','2026-11-28T09:00:00.000Z');
CREATE UNIQUE INDEX "idx__sqlite_migrations_migration_set_name"
    ON "_sqlite_migrations" ("migration_set", "name");
CREATE UNIQUE INDEX target_state_kind_name ON target_state(kind, name) WHERE name IS NOT NULL;
CREATE INDEX target_state_parent_id ON target_state(parent_id);
CREATE INDEX devices_endpoint_id ON devices(endpoint_id);
CREATE INDEX drift_events_protocol ON drift_events(protocol, id);
CREATE INDEX admin_sessions_user_id ON admin_sessions(user_id);
CREATE INDEX discovery_runs_rule_uuid ON discovery_runs(rule_uuid, id);
CREATE TRIGGER outbox_counts_in AFTER INSERT ON outbox BEGIN
            INSERT INTO outbox_counts (destination_id, rows, bytes, last_seq)
                VALUES (NEW.destination_id, 1, length(NEW.payload), NEW.seq)
                ON CONFLICT (destination_id) DO UPDATE SET rows = rows + 1,
                bytes = bytes + excluded.bytes, last_seq = max(last_seq, excluded.last_seq);
        END;
CREATE TRIGGER outbox_counts_out AFTER DELETE ON outbox BEGIN
            UPDATE outbox_counts SET rows = rows - 1, bytes = bytes - length(OLD.payload)
                WHERE destination_id = OLD.destination_id;
        END;
CREATE TRIGGER dead_letters_in AFTER INSERT ON dead_letters BEGIN
            INSERT INTO outbox_counts (destination_id, last_seq, dead_letters)
                VALUES (NEW.destination_id, NEW.seq, 1)
                ON CONFLICT (destination_id) DO UPDATE SET dead_letters = dead_letters + 1,
                last_seq = max(last_seq, excluded.last_seq);
        END;
CREATE TRIGGER dead_letters_out AFTER DELETE ON dead_letters BEGIN
            UPDATE outbox_counts SET dead_letters = dead_letters - 1
                WHERE destination_id = OLD.destination_id;
        END;
CREATE TRIGGER outbox_groups_in AFTER INSERT ON outbox_groups BEGIN
            INSERT INTO outbox_counts (destination_id, last_seq, packed_rows, packed_bytes)
                VALUES (NEW.destination_id, NEW.last_seq, NEW.rows, NEW.bytes * NEW.rows / NEW.packed)
                ON CONFLICT (destination_id) DO UPDATE SET packed_rows = packed_rows + excluded.packed_rows,
                packed_bytes = packed_bytes + excluded.packed_bytes,
                last_seq = max(last_seq, excluded.last_seq);
        END;
CREATE TRIGGER outbox_groups_left AFTER UPDATE OF rows ON outbox_groups BEGIN
            UPDATE outbox_counts SET packed_rows = packed_rows + NEW.rows - OLD.rows,
                packed_bytes = packed_bytes
                    + NEW.bytes * NEW.rows / NEW.packed - OLD.bytes * OLD.rows / OLD.packed
                WHERE destination_id = NEW.destination_id;
        END;
CREATE TRIGGER outbox_groups_out AFTER DELETE ON outbox_groups BEGIN
            UPDATE outbox_counts SET packed_rows = packed_rows - OLD.rows,
                packed_bytes = packed_bytes - OLD.bytes * OLD.rows / OLD.packed
                WHERE destination_id = OLD.destination_id;
        END;
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('target_state',4);
INSERT INTO "sqlite_sequence" VALUES('dead_letters',1);
INSERT INTO "sqlite_sequence" VALUES('drift_events',1);
INSERT INTO "sqlite_sequence" VALUES('users',1);
INSERT INTO "sqlite_sequence" VALUES('admin_sessions',1);
INSERT INTO "sqlite_sequence" VALUES('discovery_runs',2);
COMMIT;
