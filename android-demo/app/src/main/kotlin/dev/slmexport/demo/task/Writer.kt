package dev.slmexport.demo.task

import dev.slmexport.demo.model.Artifact
import dev.slmexport.demo.model.Bundle
import dev.slmexport.demo.model.Turn
import dev.slmexport.demo.model.best
import dev.slmexport.demo.runtime.CausalSession
import java.util.concurrent.atomic.AtomicBoolean
import org.pytorch.executorch.extension.llm.LlmCallback
import org.pytorch.executorch.extension.llm.LlmModule

/** How much was written, and in which time. */
class Written(val tokens: Int, val seconds: Double) {
    val tokensPerSecond: Double get() = if (seconds > 0) tokens / seconds else 0.0
}

/** What is to be continued; `special`: whether the tokenizer adds its own tokens, which a chat's text has already. */
class Prompt(val text: String, val special: Boolean)

/** A conversation for models that have chats, and its last text for others. */
fun Bundle.prompt(turns: List<Turn>): Prompt {
    val usable = chat?.takeIf { it.refused == null }
    return if (usable == null) Prompt(turns.last().content, special = true) else Prompt(usable.prompt(turns), special = false)
}

/** A model that continues a prompt, always with the likeliest token. */
interface Writer : AutoCloseable {
    /** Gives each piece of text as it is written; returns when the answer ends, or `most` tokens are written, or
     * `stop` was called, which any thread may do. */
    fun write(prompt: Prompt, most: Int, onText: (String) -> Unit): Written

    fun stop()

    companion object {
        fun open(bundle: Bundle, artifact: Artifact): Writer =
            if (artifact.format == "executorch") LlmWriter(bundle, artifact)
            else StepWriter(bundle, artifact, CausalSession.open(bundle, artifact))
    }
}

/** ExecuTorch's own runner, with its own tokenizer, which gives the token that ends an answer as text, too. */
class LlmWriter(bundle: Bundle, private val artifact: Artifact) : Writer {
    private val module = LlmModule(bundle.file(artifact.path).path, bundle.tokenizerFile.path, 0f)
    private val ends = bundle.addedTokens(artifact.rules!!.ends)
    private val stopped = AtomicBoolean()

    init {
        val error = module.load()
        check(error == 0) { "ExecuTorch's runner refuses ${artifact.path} with error $error." }
    }

    override fun write(prompt: Prompt, most: Int, onText: (String) -> Unit): Written {
        stopped.set(false)
        val pieces = Pieces(most, onText)
        module.resetContext()
        val error = module.generate(prompt.text, artifact.maxLength, pieces, false)
        check(error == 0) { "ExecuTorch's runner stopped with error $error." }
        check(pieces.came || stopped.get()) { "The conversation is longer than the ${artifact.maxLength} tokens that the model reads." }
        return pieces.written()
    }

    override fun stop() {
        stopped.set(true)
        module.stop()
    }

    override fun close() = module.resetNative()

    private inner class Pieces(private val most: Int, private val onText: (String) -> Unit) : LlmCallback {
        var came = false  // the runner says nothing else of a prompt that is too long
            private set
        private var count = 0
        private var first = 0L
        private var last = 0L

        override fun onResult(piece: String) {
            came = true
            last = System.nanoTime()
            if (count == 0) first = last
            if (piece in ends) return
            if (stopped.get() || count >= most) return module.stop()
            count += 1
            onText(piece)
        }

        override fun onStats(stats: String) = Unit

        fun written() = Written(count, (last - first) / 1e9)
    }
}

/** Token by token, for runtimes that have no runner of their own. */
class StepWriter(private val bundle: Bundle, artifact: Artifact, private val session: CausalSession) : Writer {
    private val rules = artifact.rules!!
    private val room = artifact.maxLength
    private val stopped = AtomicBoolean()

    override fun write(prompt: Prompt, most: Int, onText: (String) -> Unit): Written {
        stopped.set(false)
        val ids = bundle.tokenizer.encode(prompt.text, specialTokens = prompt.special).ids
        require(ids.size < room) { "The conversation has ${ids.size} tokens; the model reads $room at most." }
        val text = bundle.tokenizer.stream()
        session.restart()
        var next = session.read(ids).best()
        val started = System.nanoTime()
        var count = 0
        while (next !in rules.ends && count < minOf(most, room - ids.size) && !stopped.get()) {
            onText(text.push(next))
            count += 1
            next = session.read(intArrayOf(next)).best()
        }
        onText(text.end())
        return Written(count, (System.nanoTime() - started) / 1e9)
    }

    override fun stop() = stopped.set(true)

    override fun close() = session.close()
}
