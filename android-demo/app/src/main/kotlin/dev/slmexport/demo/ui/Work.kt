package dev.slmexport.demo.ui

import android.os.Handler
import android.os.Looper
import java.util.concurrent.Executors

/** One thing after another, off the main thread; what comes of it is shown on the main thread. */
class Worker {
    private val thread = Executors.newSingleThreadExecutor { Thread(it, "models") }
    private val main = Handler(Looper.getMainLooper())

    fun run(work: () -> Unit) = thread.execute(work)

    fun show(change: () -> Unit) {
        main.post(change)
    }
}

/** A value that screens watch. It belongs to the main thread. */
class Watched<T>(first: T) {
    private val watchers = mutableListOf<(T) -> Unit>()
    var value: T = first
        set(new) {
            field = new
            watchers.toList().forEach { it(new) }
        }

    fun watch(watcher: (T) -> Unit) {
        watchers += watcher
        watcher(value)
    }

    fun forget(watcher: (T) -> Unit) {
        watchers -= watcher
    }
}

/** What one activity watches, until it goes. */
class Watching {
    private val ends = mutableListOf<() -> Unit>()

    fun <T> of(watched: Watched<T>, show: (T) -> Unit) {
        watched.watch(show)
        ends += { watched.forget(show) }
    }

    fun atEnd(end: () -> Unit) {
        ends += end
    }

    fun end() {
        ends.forEach { it() }
        ends.clear()
    }
}
