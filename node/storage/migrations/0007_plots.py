"""Which tables did plots bring?"""

from __future__ import annotations

STATEMENTS = (
    """
    CREATE TABLE "plots" (
        "number" INTEGER NOT NULL PRIMARY KEY,
        "side" TEXT NOT NULL,
        "request" TEXT NOT NULL,
        "id" TEXT NOT NULL,
        "task_id" TEXT NOT NULL,
        "name" TEXT NOT NULL,
        "node" TEXT,
        "worker_id" TEXT,
        "state" TEXT NOT NULL,
        "reason" TEXT NOT NULL,
        "step" INTEGER NOT NULL,
        "plotter" TEXT,
        "plot_pid" INTEGER,
        "log_pid" INTEGER,
        "plot_id" TEXT,
        "fpk" TEXT,
        "ppk" TEXT,
        "memo" TEXT,
        "ksize" INTEGER,
        "cache1" TEXT,
        "cache2" TEXT,
        "threads" INTEGER,
        "buffer" INTEGER,
        "stripe_size" INTEGER,
        "buckets" INTEGER,
        "bitfield" INTEGER NOT NULL,
        "progress" REAL NOT NULL,
        "phase" INTEGER NOT NULL,
        "table" INTEGER NOT NULL,
        "eta_s" REAL,
        "suspended" INTEGER NOT NULL,
        "p1_table_1_now_size" INTEGER,
        "unknown_lines" INTEGER NOT NULL,
        "dest_type" TEXT NOT NULL,
        "dest_path" TEXT,
        "dest_file_name" TEXT,
        "file_bytes" INTEGER,
        "file_sha256" TEXT,
        "proofs" INTEGER,
        "created_at" REAL NOT NULL,
        "updated_at" REAL NOT NULL,
        "started_at" REAL,
        "ended_at" REAL
    )
    """,
    'CREATE UNIQUE INDEX "plots_side_id" ON "plots" ("side", "id")',
    'CREATE UNIQUE INDEX "plots_side_task_id" ON "plots" ("side", "task_id")',
    'CREATE INDEX "plots_side_state_number" ON "plots" ("side", "state", "number")',
    """
    CREATE TABLE "plot_times" (
        "plot" INTEGER NOT NULL REFERENCES "plots" ("number") ON DELETE CASCADE,
        "phase" INTEGER NOT NULL,
        "table" INTEGER NOT NULL,
        "kind" TEXT NOT NULL,
        "seconds" REAL NOT NULL,
        "cpu" REAL,
        PRIMARY KEY ("plot", "phase", "table", "kind")
    )
    """,
    """
    CREATE TABLE "plot_steps" (
        "plot" INTEGER NOT NULL REFERENCES "plots" ("number") ON DELETE CASCADE,
        "number" INTEGER NOT NULL,
        "time" REAL NOT NULL,
        "event" TEXT NOT NULL,
        "state" TEXT NOT NULL,
        "reason" TEXT NOT NULL,
        PRIMARY KEY ("plot", "number")
    )
    """,
    """
    CREATE TABLE "plot_logs" (
        "plot" INTEGER NOT NULL PRIMARY KEY REFERENCES "plots" ("number") ON DELETE CASCADE,
        "overlord" TEXT NOT NULL,
        "place" TEXT NOT NULL,
        "told" INTEGER NOT NULL
    )
    """,
    """
    CREATE TABLE "plot_stops" (
        "side" TEXT NOT NULL,
        "plot" TEXT NOT NULL,
        "state" TEXT NOT NULL,
        "reason" TEXT NOT NULL,
        "created_at" REAL NOT NULL,
        "updated_at" REAL NOT NULL,
        PRIMARY KEY ("side", "plot")
    )
    """,
)
