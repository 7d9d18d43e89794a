package dev.slmexport.demo.ui

import dev.slmexport.demo.model.Artifact
import dev.slmexport.demo.model.Bundle
import dev.slmexport.demo.runtime.FreeMemory
import dev.slmexport.demo.runtime.Session
import dev.slmexport.demo.runtime.requireMemory
import dev.slmexport.demo.task.Writer

/** The one artifact that is open: phones have no memory for two. It belongs to the worker's thread. */
class OpenArtifact(private val free: FreeMemory) : AutoCloseable {
    private var held: Held? = null

    fun session(bundle: Bundle, artifact: Artifact): Held = opened(artifact) { Session.open(bundle, artifact) }

    fun writer(bundle: Bundle, artifact: Artifact): Held = opened(artifact) { Writer.open(bundle, artifact) }

    override fun close() {
        held?.open?.close()
        held = null
    }

    private fun opened(artifact: Artifact, open: () -> AutoCloseable): Held {
        held?.takeIf { it.artifact === artifact }?.let { return it.copy(millis = null) }
        close()
        requireMemory(artifact, free)
        val (opened, millis) = timed(open)
        return Held(artifact, opened, millis).also { held = it }
    }
}

/** `millis`: what opening it took, or null if it was open. */
data class Held(val artifact: Artifact, val open: AutoCloseable, val millis: Double?)

inline fun <T> timed(work: () -> T): Pair<T, Double> {
    val began = System.nanoTime()
    val done = work()
    return done to (System.nanoTime() - began) / 1e6
}
